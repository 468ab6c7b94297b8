#include "models/parts/selection.h"

#include <algorithm>
#include <array>

namespace intaglio {
namespace {

constexpr std::array<std::string_view, 6> kPrecisionNames{"fp32",         "bf16", "int8",
                                                          "int8-dequant", "fp8",  "nf4"};

// Of the linears that the selection quantizes.
LinearKind selected_kind(Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return LinearKind::kF32;
    case Precision::kBf16:
      return LinearKind::kBF16;
    case Precision::kInt8:
      return LinearKind::kS8;
    case Precision::kInt8Dequant:
      return LinearKind::kS8Dequant;
    case Precision::kFp8:
      return LinearKind::kF8;
    case Precision::kNf4:
      return LinearKind::kNf4;
  }
  return LinearKind::kF32;
}

bool matches_any(const std::vector<std::string>& patterns, std::string_view name) {
  return std::any_of(patterns.begin(), patterns.end(),
                     [&](const std::string& p) { return name_matches(p, name); });
}

}  // namespace

std::span<const std::string_view> precision_names() { return kPrecisionNames; }

std::string_view precision_name(Precision precision) {
  return kPrecisionNames[static_cast<size_t>(precision)];
}

std::optional<Precision> precision_from_name(std::string_view name) {
  for (size_t i = 0; i < kPrecisionNames.size(); ++i) {
    if (kPrecisionNames[i] == name) return static_cast<Precision>(i);
  }
  return std::nullopt;
}

bool name_matches(std::string_view pattern, std::string_view name) {
  // Greedy matching with one fallback point: linear for the patterns people write, never
  // exponential.
  size_t p = 0;
  size_t n = 0;
  size_t star = std::string_view::npos;
  size_t star_name = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_name = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      n = ++star_name;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

LinearKind LayerSelection::kind_of(const std::vector<std::string>& names, bool quantized) const {
  if (precision == Precision::kFp32) return LinearKind::kF32;
  const bool kept = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return matches_any(keep_bf16, name);
  });
  return quantized && !kept ? selected_kind(precision) : LinearKind::kBF16;
}

Status LayerSelection::check_keep_bf16(const std::vector<std::string>& names) const {
  for (const std::string& pattern : keep_bf16) {
    const bool used = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return name_matches(pattern, name);
    });
    if (!used)
      return make_error(ErrorCode::kInvalidArgument,
                        "keep-bf16: \"{}\" matches none of the linears that are quantized, such as "
                        "\"layers.0.feed_forward.w2\"",
                        pattern);
  }
  return {};
}

Status LayerSelection::check_device(const Context& context) const {
  const Refusal refusal = linear_kind_refusal(selected_kind(precision), context);
  if (refusal == nullptr) return {};
  if (context.gpu == nullptr)
    return make_error(ErrorCode::kUnsupported, "{}; the device is the CPU", refusal);
  return make_error(ErrorCode::kUnsupported, "{}; the device is {} of compute capability {}.{}",
                    refusal, context.gpu->name, context.gpu->compute_capability / 10,
                    context.gpu->compute_capability % 10);
}

}  // namespace intaglio
