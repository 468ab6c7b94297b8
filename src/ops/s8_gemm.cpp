#include "ops/s8_gemm.h"

#include <algorithm>
#include <array>

#include "ops/cpu/s8_gemm_implementations.h"
#if defined(INTAGLIO_HAS_CUDA)
#include "ops/cuda/linear.h"
#endif

namespace intaglio {
namespace {

// 128 * 128 * k must stay below 2^31.
constexpr int64_t kMaxK = 130000;
// Keeps every size product far from overflow.
constexpr int64_t kMaxRows = int64_t{1} << 31;

int64_t out_columns(const S8GemmDesc& desc) {
  return desc.out_dtype == DType::kI32 ? desc.n : epilogue_columns(desc.epilogue, desc.n);
}

}  // namespace

Refusal refuse_s8_gemm_desc(const S8GemmDesc& desc) {
  if (desc.m < 1 || desc.n < 1 || desc.k < 1) return "m, n and k must be at least 1";
  if (desc.k > kMaxK) return "k is over 130000: the int32 sums could overflow";
  if (desc.m > kMaxRows || desc.n > kMaxRows) return "m or n is over 2^31";
  if (is_gated(desc.epilogue) && desc.n % (2 * kSwigluGroup) != 0)
    return "gated pairs need n % 32 == 0";
  if (desc.out_dtype != DType::kF32 && desc.out_dtype != DType::kBF16 &&
      desc.out_dtype != DType::kI32) {
    return "the output must be F32, BF16 or I32";
  }
  return nullptr;
}

Status check_s8_gemm(const S8GemmDesc& desc, const S8GemmArgs& args, bool takes_side) {
  if (args.side.rank != 0 && !takes_side) {
    return make_error(ErrorCode::kUnsupported, "s8_gemm {}x{}x{}: adds no side branch", desc.m,
                      desc.n, desc.k);
  }
  constexpr int64_t kMostElements = int64_t{1} << 31;
  if (args.side.rank < 0 || args.side.rank % 16 != 0 ||
      args.side.rank * std::max(desc.m, desc.n) >= kMostElements) {
    return make_error(ErrorCode::kInvalidArgument,
                      "s8_gemm {}x{}x{}: a side branch of rank {}, a multiple of 16 expected with "
                      "fewer than 2^31 elements",
                      desc.m, desc.n, desc.k, args.side.rank);
  }
  if (const Refusal refusal = refuse_s8_gemm_desc(desc)) {
    return make_error(ErrorCode::kInvalidArgument, "s8_gemm {}x{}x{}: {}", desc.m, desc.n, desc.k,
                      refusal);
  }
  const bool scaled = desc.out_dtype != DType::kI32;
  if (args.a == nullptr || args.w_packed == nullptr || args.out == nullptr ||
      (scaled && (args.a_scale_row == nullptr || args.w_scale_col == nullptr))) {
    return make_error(ErrorCode::kInvalidArgument,
                      "s8_gemm {}x{}x{}: a, w_packed, out or a scale is null", desc.m, desc.n,
                      desc.k);
  }
  if (args.lda < desc.k || args.ldo < out_columns(desc)) {
    return make_error(
        ErrorCode::kInvalidArgument,
        "s8_gemm {}x{}x{}: lda is {}, at least {} expected; ldo is {}, at least {} expected",
        desc.m, desc.n, desc.k, args.lda, desc.k, args.ldo, out_columns(desc));
  }
  return {};
}

S8Epilogue make_s8_epilogue(const S8GemmDesc& desc, const S8GemmArgs& args) {
  S8Epilogue e{};
  e.a_scale_row = args.a_scale_row;
  e.w_scale_col = args.w_scale_col;
  e.bias = args.bias;
  e.out = args.out;
  e.ldo = args.ldo;
  e.n = desc.n;
  e.out_type = desc.out_dtype;
  e.epilogue = desc.epilogue;
  e.side = args.side;
  return e;
}

std::span<const S8GemmImplementation> s8_gemm_implementations() {
  static const std::array list {
#if defined(INTAGLIO_HAS_CUDA)
    cuda::op::kS8Gemm,
#endif
#if defined(INTAGLIO_X86)
        kAmxS8Gemm, kAvx512VnniS8Gemm, kAvx2S8Gemm,
#endif
        kRefS8Gemm
  };
  return list;
}

Expected<const S8GemmImplementation*> choose_s8_gemm(const S8GemmDesc& desc,
                                                     const Context& context) {
  return choose(OpName{"s8_gemm", "an int8 matrix product"}, s8_gemm_implementations(), desc,
                context, [](const S8GemmDesc& d) {
                  return fmt::format("m={} n={} k={} epilogue={} out={}", d.m, d.n, d.k,
                                     epilogue_name(d.epilogue), dtype_name(d.out_dtype));
                });
}

}  // namespace intaglio
