// The AMX int8 GEMM driver, with its kernel and its blocking as parameters: tests run it on emulated tiles, the benchmark tries other blockings.
#pragma once

#include "ops/cpu/s8_amx_task.h"
#include "ops/s8_gemm.h"

namespace intaglio {

using S8AmxKernel = void (*)(const S8AmxTask&);

struct S8AmxTuning {
  int64_t piece_steps =
      16;  // k steps (of 64) accumulated in tiles before the sums go to memory: 16 x 2 KiB of weights stay in L1
  int64_t k_block = 5120;              // depth of the slice of A that stays in L2
  int64_t a_block_bytes = 1280 << 10;  // size of that slice
  int64_t block_rows = 256;  // and its most rows when a weight panel is read from L3 for each
  int prefetch_a = 0;        // k steps by which A is prefetched from L2 to L1, 0 = not
  bool prefetch_w = true;    // the next piece of the weights from L3 to L2
};

size_t s8_amx_scratch_bytes(const S8GemmDesc& desc, int threads, const S8AmxTuning& tuning);
Status s8_amx_run(const Context& context, const S8GemmDesc& desc, const S8GemmArgs& args,
                  S8AmxKernel kernel, const S8AmxTuning& tuning);

}  // namespace intaglio
