#include "bench/step_ops.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace intaglio::cli {
namespace {

struct Work {
  double operations = 0.0, bytes = 0.0;
};

constexpr std::string_view kLinear = "linear ";

// Of one call.
Work work_of(std::string_view name, const PassSizes& s) {
  const auto tokens = static_cast<double>(s.shape.text_tokens + s.shape.image_tokens);
  const auto image = static_cast<double>(s.shape.image_tokens);
  double hidden = 0.0;  // inner columns of the feed-forward
  // Where a few blocks run over the image alone, the mean of all.
  double operations = 0.0, calls = 0.0;
  for (const ListedLinear& linear : s.shape.linears) {
    if (is_gated(linear.epilogue)) hidden = 0.5 * static_cast<double>(linear.n);
    if (linear.rows == LinearRows::kText || name != std::string(kLinear) + linear.name) continue;
    const double rows = linear.rows == LinearRows::kImage ? image : tokens;
    const auto count = static_cast<double>(linear.count);
    operations += count * 2.0 * rows * static_cast<double>(linear.n * linear.k);
    calls += count;
  }
  if (calls > 0.0) return {operations / calls, 0.0};
  const double activation = s.precision == Precision::kFp32 ? 4.0 : 2.0;
  const bool byte_rows = s.precision == Precision::kInt8 || s.precision == Precision::kFp8;
  const double input = byte_rows ? 1.0 : activation;
  const double plane = tokens * static_cast<double>(s.shape.width);
  if (name == "attention") return {4.0 * tokens * plane, 0.0};
  // q and k in and out; with int8: q in, its int8 out, k in and out, in again for its int8.
  if (name == "rope")
    return {0.0, plane * (s.s8_scores ? 4.0 * activation + 2.0 : 4.0 * activation)};
  if (name == "quantize attended") return {0.0, plane * (activation + 1.0)};
  if (name == "quantize hidden") return {0.0, tokens * hidden * (activation + 1.0)};
  // h in and out, the linear's output in, the next linear's input out.
  if (name == "norm residual") return {0.0, plane * (8.0 + activation + input)};
  return {};
}

std::string name_of(const Profile::Span& span) {
  std::string name(kProfilePartNames[static_cast<size_t>(span.part)]);
  if (*span.detail != '\0') name += std::string(" ") + span.detail;
  return name;
}

}  // namespace

std::vector<OpTime> op_times(const Profile& profile, const PassSizes& sizes) {
  std::vector<OpTime> ops;
  for (const Profile::Span& span : profile.spans) {
    const std::string name = name_of(span);
    auto op = std::find_if(ops.begin(), ops.end(), [&](const OpTime& o) { return o.name == name; });
    if (op == ops.end()) op = ops.insert(ops.end(), OpTime{.name = name});
    const Work work = work_of(name, sizes);
    ++op->calls;
    op->time_ms += span.time_ms;
    op->operations += work.operations;
    op->bytes += work.bytes;
  }
  return ops;
}

double pass_operations(const PassSizes& s) {
  double sum = work_of("attention", s).operations * static_cast<double>(s.layers);
  for (const ListedLinear& linear : s.shape.linears) {
    if (linear.rows == LinearRows::kText) continue;  // once a picture
    sum += work_of(std::string(kLinear) + linear.name, s).operations *
           static_cast<double>(linear.count);
  }
  return sum;
}

std::string chrome_trace(const Profile& profile) {
  nlohmann::json events = nlohmann::json::array();
  for (const Profile::Span& span : profile.spans) {
    events.push_back({{"name", name_of(span)},
                      {"cat", std::string(kProfilePartNames[static_cast<size_t>(span.part)])},
                      {"ph", "X"},
                      {"ts", span.start_ms * 1e3},
                      {"dur", span.time_ms * 1e3},
                      {"pid", 0},
                      {"tid", 0}});
  }
  return nlohmann::json{{"traceEvents", events}, {"displayTimeUnit", "ms"}}.dump();
}

}  // namespace intaglio::cli
