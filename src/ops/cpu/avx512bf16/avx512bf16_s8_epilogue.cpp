// The epilogue of the AVX512-VNNI int8 GEMM on processors that convert to bf16 in one instruction.
#include "ops/cpu/avx512_s8_epilogue.h"

namespace intaglio {

void avx512bf16_s8_epilogue(const S8Epilogue& epilogue, const int32_t* acc, int64_t row0,
                            int64_t rows, int64_t col0) {
  const Avx512Columns columns = avx512_columns(epilogue, col0);
  for (int64_t r = 0; r < rows; ++r)
    avx512_epilogue_row(epilogue, columns, acc + r * kS8PanelCols, row0 + r, col0);
}

}  // namespace intaglio
