// The bf16 convolution on AMX tiles, with its kernel and blocking as options: tests run it on
// emulated tiles.
//
//   A task is a block of source pixels with the pixels around it, copied with zeros outside the
//   picture: [rows + 2][columns + 2][channels]. The window of a pixel is then three pieces of
//   3 * channels values, one a line of the copy; the next pixel's starts `channels` further. Line
//   after line of the copy is one matrix product; the two places of each line that are no pixel are
//   dropped by the epilogue. Channels are padded to whole tiles (32). Through an upsampling,
//   windows
//   are 2 x 2 source pixels, in four ways by the parity of the output's place.
//
// The packed weights depend on the channels alone, so they serve every size of picture.
#pragma once

#include "ops/conv2d.h"
#include "ops/cpu/bf16_amx_task.h"

namespace intaglio {

struct Bf16AmxConvOptions {
  Bf16AmxKernel kernel = amx_bf16_task;
  int64_t block_bytes = 512 << 10;  // of the copy: it stays in L2 beside the sums and the weights
  int64_t block_columns = 256;      // most source pixels of a line
  int64_t piece_steps = 1024;       // most k steps between loads and stores of the sums
  int64_t tile_groups = 2;          // groups of 16 pixels accumulated at once: 2 or 3
};

// As of Conv2dImplementation::run.
struct Conv2dPictures {
  const void* x = nullptr;
  const void* add = nullptr;
  void* y = nullptr;
};

Expected<AlignedBuffer> pack_bf16_amx_conv2d(const Context& context, const Conv2dDesc& desc,
                                             const float* w);
size_t bf16_amx_conv2d_scratch_bytes(const Conv2dDesc& desc, int threads,
                                     const Bf16AmxConvOptions& options);
Status run_bf16_amx_conv2d(const Context& context, const Conv2dDesc& desc,
                           const Conv2dWeights& weights, const Conv2dPictures& pictures,
                           const Bf16AmxConvOptions& options);

}  // namespace intaglio
