// The AMX int8 GEMM kernel on real tiles; the algorithm is in amx_gemm_kernel.h.
#include <immintrin.h>

#include <cstdint>

#include "ops/cpu/amx/amx_gemm_kernel.h"
#include "ops/cpu/amx/amx_tile_moves.h"
#include "ops/cpu/avx512_s8_epilogue.h"
#include "ops/cpu/s8_amx_task.h"

namespace intaglio {
namespace {

struct TileOps : AmxTileMoves {
  using Task = S8AmxTask;
  using Epilogue = S8Epilogue;
  using Columns = Avx512Columns;

  template <int kAcc, int kA, int kW>
  static void dot() {
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kAcc), "i"(kA), "i"(kW));
  }
  static Columns columns(const S8Epilogue& epilogue, int64_t col0) {
    return avx512_columns(epilogue, col0);
  }
  static void epilogue_row(const S8Epilogue& epilogue, const Columns& columns, const int32_t* acc,
                           int64_t row, int64_t col0) {
    avx512_epilogue_row(epilogue, columns, acc, row, col0);
  }
};

}  // namespace

void amx_s8_task(const S8AmxTask& task) { run_task<TileOps>(task); }

}  // namespace intaglio
