// Which linear runs at which precision: a rule list over weight names, not code.
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

// The names the paper quantizes: q, k, v, out, w1, w2, w3 of every layer and the text projection.
const std::vector<std::string>& default_int8_patterns();

// Decides per linear. `int8` lists the patterns to quantize, `keep_bf16` takes names out again.
struct LayerSelection {
  Precision precision = Precision::kInt8;
  std::vector<std::string> int8 = default_int8_patterns();
  std::vector<std::string> keep_bf16;

  // `name` is the module's name without ".weight", e.g. "layers.3.feed_forward.w2".
  LinearKind kind_of(std::string_view name) const;
  // Linears that share their input run as one product: the kind of all of them, the most precise winning.
  LinearKind kind_of(const std::vector<std::string>& names) const;
  // kInvalidArgument if a pattern of keep_bf16 names no linear of `names` that would be quantized: a slip of the pen should not pass silently.
  Status check_keep_bf16(const std::vector<std::string>& names) const;
  // kUnsupported if the context's device has no products for the precision: better known before weights are read.
  Status check_device(const Context& context) const;
  // The type of activations between ops: F32 for fp32, else BF16.
  DType activation_dtype() const {
    return precision == Precision::kFp32 ? DType::kF32 : DType::kBF16;
  }
};

}  // namespace intaglio
