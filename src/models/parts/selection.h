// Which linear runs at which precision.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.h"
#include "core/status.h"
#include "ops/linear.h"

namespace intaglio {

enum class Precision {
  kFp32,         // the oracle
  kBf16,         // bf16 weights and activations, fp32 sums
  kInt8,         // int8 x int8 -> int32 in the linears of the selection, bf16 elsewhere
  kInt8Dequant,  // the same quantization, dequantized to bf16 before each product: the baseline
  kFp8,          // e4m3 x e4m3 -> float in the same linears; GPUs of compute capability 8.9 on
  kNf4,          // 4-bit weights in the same linears, dequantized to bf16 before each product; GPUs
};

// "fp32", "bf16", "int8", "int8-dequant", "fp8", "nf4": in the order of Precision.
std::span<const std::string_view> precision_names();
std::string_view precision_name(Precision precision);
std::optional<Precision> precision_from_name(std::string_view name);

// Matches a dotted weight name against a pattern; '*' stands for any run of characters.
bool name_matches(std::string_view pattern, std::string_view name);

// Decides per linear. Which of a model's linears are quantized the model says
// (LinearModule::quantized); `keep_bf16`, patterns of names, takes some out again.
struct LayerSelection {
  Precision precision = Precision::kInt8;
  std::vector<std::string> keep_bf16{};

  // Of linears that share their input and run as one product: `names` are the modules' without
  // ".weight", e.g. "layers.3.feed_forward.w2". One that is kept keeps all.
  LinearKind kind_of(const std::vector<std::string>& names, bool quantized) const;
  // kInvalidArgument if a pattern of keep_bf16 names none of the linears that are quantized,
  // `names`: a slip of the pen should not pass silently.
  Status check_keep_bf16(const std::vector<std::string>& names) const;
  // kUnsupported if the context's device has no products for the precision: better known before
  // weights are read.
  Status check_device(const Context& context) const;
  // The type of activations between ops: F32 for fp32, else BF16.
  DType activation_dtype() const {
    return precision == Precision::kFp32 ? DType::kF32 : DType::kBF16;
  }
};

}  // namespace intaglio
