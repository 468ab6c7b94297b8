#include "bench/step_ops.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace intaglio::cli {
namespace {

struct Work {
  double operations = 0.0, bytes = 0.0;
};

// Of one call.
Work work_of(std::string_view name, const PassSizes& s) {
  const auto tokens = static_cast<double>(s.text_tokens + s.image_tokens);
  const auto width = static_cast<double>(s.config.width());
  const auto hidden = static_cast<double>(s.config.intermediate);
  const double activation = s.precision == Precision::kFp32 ? 4.0 : 2.0;
  const bool byte_rows = s.precision == Precision::kInt8 || s.precision == Precision::kFp8;
  const double input = byte_rows ? 1.0 : activation;
  const double plane = tokens * width;
  if (name == "linear qkv") return {6.0 * plane * width, 0.0};
  if (name == "linear out") return {2.0 * plane * width, 0.0};
  if (name == "linear w1w3") return {4.0 * plane * hidden, 0.0};
  if (name == "linear w2") return {2.0 * plane * hidden, 0.0};
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
  double sum = 0.0;
  for (const char* name : {"linear qkv", "linear out", "linear w1w3", "linear w2", "attention"})
    sum += work_of(name, s).operations;
  return sum * static_cast<double>(s.config.layers);
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
