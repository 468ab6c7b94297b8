// The packed form is w itself, row-major.
#include "ops/ref/s8_gemm.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/parallel_tasks.h"
#include "ops/cpu/s8_gemm_implementations.h"

namespace intaglio {
namespace ref {
namespace {

void store(const S8Epilogue& e, int64_t row, int64_t col, float value) {
  const int64_t at = row * e.ldo + col;
  if (e.out_type == DType::kBF16) {
    static_cast<BFloat16*>(e.out)[at] = BFloat16(value);
  } else if (e.out_type == DType::kF16) {
    static_cast<Float16*>(e.out)[at] = Float16(value);
  } else {
    static_cast<float*>(e.out)[at] = value;
  }
}

// Of a column of the product.
float side_sum(const S8SideRows& side, int64_t row, int64_t col) {
  double sum = 0.0;
  for (int64_t r = 0; r < side.rank; ++r) {
    const auto value = [r, &side](const void* rows, int64_t at) {
      return static_cast<double>(
          static_cast<float>(static_cast<const BFloat16*>(rows)[at * side.rank + r]));
    };
    sum += value(side.x, row) * value(side.w, col);
  }
  return static_cast<float>(sum);
}

}  // namespace

void s8_epilogue_row(const S8Epilogue& e, const int32_t* acc, int64_t row, int64_t col0) {
  const int64_t cols = std::min<int64_t>(kS8PanelCols, e.n - col0);
  if (e.out_type == DType::kI32) {
    std::copy(acc, acc + cols, static_cast<int32_t*>(e.out) + row * e.ldo + col0);
    return;
  }
  const auto scaled = [&](int64_t c) {
    const int64_t col = col0 + c;
    const float* const bias = e.bias == nullptr ? nullptr : e.bias + col;
    if (e.side.rank == 0) return s8_scaled(acc[c], e.a_scale_row[row], e.w_scale_col[col], bias);
    const float sum = static_cast<float>(acc[c]) * e.a_scale_row[row] + side_sum(e.side, row, col);
    const float y = sum * e.w_scale_col[col];
    return bias == nullptr ? y : y + *bias;
  };
  visit_epilogue(e.epilogue, [&](auto epilogue) {
    using Epilogue = decltype(epilogue);
    constexpr bool kGated = Epilogue::kGated;
    for (int64_t c = 0; c < (kGated ? kSwigluGroup : cols); ++c) {
      const float up = kGated ? scaled(c + kSwigluGroup) : 0.0f;
      store(e, row, (kGated ? col0 / 2 : col0) + c, s8_output<Epilogue>(scaled(c), up));
    }
  });
}

void s8_gemm_rows(const S8Epilogue& e, S8Rows a, S8Rows w, int64_t k, int64_t first, int64_t end) {
  for (int64_t row = first; row < end; ++row) {
    const int8_t* const a_row = a.data + row * a.stride;
    for (int64_t col0 = 0; col0 < e.n; col0 += kS8PanelCols) {
      std::array<int32_t, kS8PanelCols> acc{};
      const int64_t cols = std::min<int64_t>(kS8PanelCols, e.n - col0);
      for (int64_t c = 0; c < cols; ++c) {
        const int8_t* const w_row = w.data + (col0 + c) * w.stride;
        int32_t sum = 0;
        for (int64_t i = 0; i < k; ++i) sum += int32_t{a_row[i]} * int32_t{w_row[i]};
        acc[static_cast<size_t>(c)] = sum;
      }
      s8_epilogue_row(e, acc.data(), row, col0);
    }
  }
}

}  // namespace ref

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
  INTAGLIO_TRY(check_s8_gemm(desc, args, true));
  const S8Epilogue epilogue = make_s8_epilogue(desc, args);
  const ref::S8Rows a{args.a, args.lda}, w{static_cast<const int8_t*>(args.w_packed), desc.k};
  INTAGLIO_TRY(parallel_tasks(context, desc.m, 1, [&](int64_t begin, int64_t end, int) {
    ref::s8_gemm_rows(epilogue, a, w, desc.k, begin, end);
  }));
  return {};
}

}  // namespace

extern const S8GemmImplementation kRefS8Gemm{"ref_s8_gemm", can_run,       packed_bytes, pack,
                                             unpack_rows,   scratch_bytes, run};

}  // namespace intaglio
