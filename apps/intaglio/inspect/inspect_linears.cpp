#include "inspect/inspect_linears.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace intaglio::cli {
namespace {

using nlohmann::ordered_json;

std::string stored_as(const LinearEntry& entry) {
  if (entry.encoding == Encoding::kInt8Rows) {
    std::string text =
        entry.scales->view.shape.count() == 1 && entry.n > 1 ? "int8 of one scale" : "int8 rows";
    if (entry.rotation.kind == RotationKind::kConvRot)
      text += fmt::format(" turned by {}", entry.rotation.group);
    if (entry.input_scale != nullptr) text += " smoothed";
    return entry.float_product ? text + ", float product" : text;
  }
  if (entry.decoder != nullptr)
    return fmt::format("{} decoded", dtype_name(entry.values->view.dtype));
  return std::string(dtype_name(entry.values->view.dtype));
}

void read_scales(const LinearEntry& entry, LinearReport& report) {
  if (entry.scales == nullptr) return;
  Expected<std::vector<float>> scales = read_floats(*entry.scales);
  if (!scales || scales->empty()) return;
  std::sort(scales->begin(), scales->end());
  report.has_scales = true;
  report.least_scale = scales->front() / entry.scale_divisor;
  report.median_scale = (*scales)[scales->size() / 2] / entry.scale_divisor;
  report.largest_scale = scales->back() / entry.scale_divisor;
}

}  // namespace

void add_linear_facts(const Expected<std::shared_ptr<const StoredWeights>>& weights,
                      PartReport& report) {
  if (!weights) {
    report.facts["weights_not_supported"] = weights.error().message;
    return;
  }
  if (!(*weights)->is_quantized()) return;
  report.facts["format"] = (*weights)->format();
  const auto writers = (*weights)->tensors().metadata("quantized_by");
  if (!writers.empty()) report.facts["quantized_by"] = std::string(writers.front());
  struct Kind {
    int64_t count = 0;
    float least = 0.0f, largest = 0.0f;
    bool has_scales = false;
  };
  std::map<std::string, Kind> kinds;
  for (const auto& [name, entry] : (*weights)->linears()) {
    LinearReport linear{.name = name, .stored_as = stored_as(entry), .n = entry.n, .k = entry.k};
    read_scales(entry, linear);
    Kind& kind = kinds[linear.stored_as];
    ++kind.count;
    if (linear.has_scales) {
      kind.least = kind.has_scales ? std::min(kind.least, linear.least_scale) : linear.least_scale;
      kind.largest = std::max(kind.largest, linear.largest_scale);
      kind.has_scales = true;
    }
    report.linears.push_back(std::move(linear));
  }
  ordered_json summary = ordered_json::object();
  for (const auto& [name, kind] : kinds) {
    summary[name] = fmt::format(
        "{} matrices{}", kind.count,
        kind.has_scales ? fmt::format(", scales {:.3g} to {:.3g}", kind.least, kind.largest) : "");
  }
  report.facts["linears"] = std::move(summary);
}

ordered_json linears_json(const std::vector<LinearReport>& linears) {
  ordered_json list = ordered_json::array();
  for (const LinearReport& linear : linears) {
    ordered_json item{
        {"name", linear.name}, {"stored_as", linear.stored_as}, {"n", linear.n}, {"k", linear.k}};
    if (linear.has_scales)
      item["scales"] = {{"least", linear.least_scale},
                        {"median", linear.median_scale},
                        {"largest", linear.largest_scale}};
    list.push_back(std::move(item));
  }
  return list;
}

}  // namespace intaglio::cli
