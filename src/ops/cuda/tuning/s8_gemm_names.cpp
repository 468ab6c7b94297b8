#include "ops/cuda/tuning/s8_gemm_names.h"

#include <fmt/format.h>

#include <array>

namespace intaglio::cuda {
namespace {

// In the order of the enum.
constexpr std::array kFamilyNames{"sm75_s8_gemm", "sm80_s8_gemm", "sm90a_s8_gemm",
                                  "small_m_s8_gemm"};

struct OutName {
  const char* name;
  DType type;
};
constexpr OutName kOutNames[] = {
    {"i32", DType::kI32}, {"f32", DType::kF32}, {"bf16", DType::kBF16}, {"f16", DType::kF16}};

}  // namespace

const char* s8_gemm_family_name(S8GemmFamily family) {
  const auto index = static_cast<size_t>(family);
  return index < kFamilyNames.size() ? kFamilyNames[index] : "unknown";
}
std::optional<S8GemmFamily> s8_gemm_family_from_name(std::string_view name) {
  for (size_t i = 0; i < kFamilyNames.size(); ++i)
    if (name == kFamilyNames[i]) return static_cast<S8GemmFamily>(i);
  return std::nullopt;
}

std::optional<GemmEpilogue> epilogue_from_name(std::string_view name) {
  for (const GemmEpilogue epilogue : kGemmEpilogues)
    if (name == epilogue_name(epilogue)) return epilogue;
  return std::nullopt;
}

const char* s8_out_name(DType out) {
  for (const OutName& o : kOutNames)
    if (out == o.type) return o.name;
  return "unknown";
}
std::optional<DType> s8_out_from_name(std::string_view name) {
  for (const OutName& o : kOutNames)
    if (name == o.name) return o.type;
  return std::nullopt;
}

std::string describe(const S8GemmShape& shape) {
  return fmt::format("m {}, n {}, k {}, {}, {}", shape.m, shape.n, shape.k,
                     epilogue_name(shape.epilogue), s8_out_name(shape.out_type));
}

std::string describe(const S8GemmChoice& choice) {
  return fmt::format("{} {}, band {}, split {}", s8_gemm_family_name(choice.family), choice.config,
                     choice.band, choice.split_k);
}

}  // namespace intaglio::cuda
