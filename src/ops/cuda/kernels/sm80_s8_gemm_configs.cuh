// The configs of sm80_s8_gemm that are compiled, launched and tested. 99 KB of shared memory fit
// every card from sm_80; more only sm_80 and sm_90.
#pragma once

#include <tuple>

#include "ops/cuda/kernels/sm80_s8_gemm.cuh"

namespace intaglio::cuda {

// clang-format off
using Sm80S8GemmConfigs = std::tuple<
    //               tile m,   n,   k, warp m,  n, stages, blocks an SM
    Sm80S8GemmConfig<   192, 256,  64,     96, 64, 3, 1>,   //  84 KB
    Sm80S8GemmConfig<   128, 256,  64,     64, 64, 4, 1>,   //  96 KB
    Sm80S8GemmConfig<   128, 256, 128,     64, 64, 3, 1>,   // 144 KB
    Sm80S8GemmConfig<   256, 128,  64,     64, 64, 4, 1>,   //  96 KB
    Sm80S8GemmConfig<   256, 128, 128,     64, 64, 3, 1>,   // 144 KB
    Sm80S8GemmConfig<   128, 128,  64,     64, 64, 3, 2>,   //  48 KB
    Sm80S8GemmConfig<   128, 128, 128,     64, 64, 3, 2>,   //  96 KB
    Sm80S8GemmConfig<    64, 256,  64,     64, 64, 4, 2>,   //  80 KB
    Sm80S8GemmConfig<   128,  64,  64,     64, 32, 4, 3>,   //  48 KB
    Sm80S8GemmConfig<    64, 128,  64,     32, 64, 4, 3>,   //  48 KB
    Sm80S8GemmConfig<    64,  64, 128,     32, 32, 4, 3>,   //  64 KB
    Sm80S8GemmConfig<    32, 128, 128,     32, 32, 4, 3>,   //  80 KB
    Sm80S8GemmConfig<    16, 128, 128,     16, 32, 5, 3>,   //  90 KB
    Sm80S8GemmConfig<    64,  64,  64,     32, 32, 3, 2, false>>;  // 24 KB, rows at any byte
// clang-format on

}  // namespace intaglio::cuda
