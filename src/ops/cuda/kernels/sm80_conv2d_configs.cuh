// The configs of sm80_conv2d that are compiled, launched and tested. 99 KB of shared memory fit
// every card from sm_80; more only sm_80 and sm_90.
#pragma once

#include <tuple>

#include "ops/cuda/kernels/sm80_conv2d.cuh"

namespace intaglio::cuda {

// Among equals the choice takes the first (launch/conv2d_choice.h): a k tile of 128 bytes has half
// the barriers of one of 64. clang-format off
using Sm80Conv2dConfigs = std::tuple<
    //               tile m,   n, k bytes, warp m, n, stages, blocks an SM
    Sm80Conv2dConfig<128, 256, 128, 64, 64, 3, 1>,  // 144 KB
    Sm80Conv2dConfig<256, 128, 128, 64, 64, 3, 1>,  // 144 KB
    Sm80Conv2dConfig<128, 256, 64, 64, 64, 4, 1>,   //  96 KB
    Sm80Conv2dConfig<256, 128, 64, 64, 64, 4, 1>,   //  96 KB
    Sm80Conv2dConfig<128, 128, 128, 64, 64, 3, 2>,  //  96 KB
    Sm80Conv2dConfig<128, 128, 64, 64, 64, 4, 2>,   //  64 KB
    Sm80Conv2dConfig<128, 64, 64, 64, 32, 4, 3>,    //  48 KB
    Sm80Conv2dConfig<64, 64, 128, 32, 32, 4, 3>,    //  64 KB, small pictures
    Sm80Conv2dConfig<128, 16, 64, 32, 16, 4, 4>,    //  36 KB, a few output channels
    // 24 KB, any number of input channels
    Sm80Conv2dConfig<64, 64, 64, 32, 32, 3, 2, true>>;
// clang-format on

}  // namespace intaglio::cuda
