// Reference of s8_gemm: plain loops, exact int32 sums. The packed form is w itself, row-major.
#include <array>
#include <cstring>

#include "core/parallel_tasks.h"
#include "ops/cpu/s8_gemm_implementations.h"

namespace intaglio {
namespace {

Refusal can_run(const S8GemmDesc& desc, const Context&) { return refuse_s8_gemm_desc(desc); }

size_t packed_bytes(int64_t n, int64_t k) {
  return static_cast<size_t>(n) * static_cast<size_t>(k);
}

void pack(const int8_t* w, int64_t n, int64_t k, void* packed) {
  std::memcpy(packed, w, packed_bytes(n, k));
}

void unpack_rows(const void* packed, int64_t, int64_t k, int64_t first, int64_t count,
                 int8_t* out) {
  std::memcpy(out, static_cast<const int8_t*>(packed) + first * k, packed_bytes(count, k));
}

size_t scratch_bytes(const S8GemmDesc&, const Context&) { return 0; }

Status run(const Context& context, const S8GemmDesc& desc, const S8GemmArgs& args) {
  INTAGLIO_TRY(check_s8_gemm(desc, args));
  const S8Epilogue epilogue = make_s8_epilogue(desc, args);
  const auto* w = static_cast<const int8_t*>(args.w_packed);
  INTAGLIO_TRY(parallel_tasks(context, desc.m, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const int8_t* a = args.a + row * args.lda;
      for (int64_t col0 = 0; col0 < desc.n; col0 += kS8PanelCols) {
        std::array<int32_t, kS8PanelCols> acc{};
        const int64_t cols = std::min<int64_t>(kS8PanelCols, desc.n - col0);
        for (int64_t c = 0; c < cols; ++c) {
          const int8_t* w_row = w + (col0 + c) * desc.k;
          int32_t sum = 0;
          for (int64_t i = 0; i < desc.k; ++i) sum += int32_t{a[i]} * int32_t{w_row[i]};
          acc[static_cast<size_t>(c)] = sum;
        }
        s8_epilogue_row_scalar(epilogue, acc.data(), row, col0);
      }
    }
  }));
  return {};
}

}  // namespace

extern const S8GemmImplementation kRefS8Gemm{"ref_s8_gemm", can_run,       packed_bytes, pack,
                                             unpack_rows,   scratch_bytes, run};

}  // namespace intaglio
