#include "ops/cuda/tuning/s8_gemm_names.h"

#include <fmt/format.h>

#include <array>

namespace intaglio::cuda {
namespace {

// In the order of the enums.
constexpr std::array kFamilyNames{"sm75_s8_gemm", "sm80_s8_gemm", "sm90a_s8_gemm",
                                  "small_m_s8_gemm"};
constexpr std::array kFusionNames{"none", "swiglu"};
constexpr std::array kOutNames{"i32", "f32", "bf16", "f16"};

template <typename Enum, size_t kCount>
const char* name_of(const std::array<const char*, kCount>& names, Enum value) {
  const auto index = static_cast<size_t>(value);
  return index < kCount ? names[index] : "unknown";
}

template <typename Enum, size_t kCount>
std::optional<Enum> value_of(const std::array<const char*, kCount>& names, std::string_view name) {
  for (size_t i = 0; i < kCount; ++i) {
    if (name == names[i]) return static_cast<Enum>(i);
  }
  return std::nullopt;
}

}  // namespace

const char* s8_gemm_family_name(S8GemmFamily family) { return name_of(kFamilyNames, family); }
std::optional<S8GemmFamily> s8_gemm_family_from_name(std::string_view name) {
  return value_of<S8GemmFamily>(kFamilyNames, name);
}

const char* s8_fusion_name(S8Fusion fusion) { return name_of(kFusionNames, fusion); }
std::optional<S8Fusion> s8_fusion_from_name(std::string_view name) {
  return value_of<S8Fusion>(kFusionNames, name);
}

const char* s8_out_name(S8Out out) { return name_of(kOutNames, out); }
std::optional<S8Out> s8_out_from_name(std::string_view name) {
  return value_of<S8Out>(kOutNames, name);
}

std::string describe(const S8GemmShape& shape) {
  return fmt::format("m {}, n {}, k {}, {}, {}", shape.m, shape.n, shape.k,
                     s8_fusion_name(shape.fusion), s8_out_name(shape.out_type));
}

std::string describe(const S8GemmChoice& choice) {
  return fmt::format("{} {}, band {}, split {}", s8_gemm_family_name(choice.family), choice.config,
                     choice.band, choice.split_k);
}

}  // namespace intaglio::cuda
