// Group norm of channels-last pictures.
//
//   y[p, c] = act((x[p, c] - mean_g) / sqrt(var_g + eps) * weight[c] + bias[c])
//
// act is SiLU or nothing; g = c / (channels / groups); mean_g and var_g are over all pixels and the
// channels of the group. A NaN or an Inf makes all of its group NaN.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/context.h"
#include "core/dtype.h"
#include "core/registry.h"
#include "core/status.h"

namespace intaglio {

struct GroupNormDesc {
  int64_t pixels = 0, channels = 0, groups = 0;  // 1 or more; groups divide channels
  float eps = 0.0f;                              // 0 or more
  bool silu = false;
  // Of x and y: kF32 or kBF16. Sums are F32 over some tens of pixels about a value of the data,
  // then F64 in a fixed order: the same bits for any number of threads.
  DType dtype = DType::kF32;
};

struct GroupNormArgs {
  const void* x = nullptr;        // [pixels, channels] dense
  const float* weight = nullptr;  // [channels]
  const float* bias = nullptr;    // [channels]
  void* y = nullptr;              // as x, or x itself
};

struct GroupNormImplementation {
  // "cuda_group_norm", "avx512_group_norm", "avx2_group_norm", "ref_group_norm"; without x86
  // "cpu_group_norm" before the last.
  const char* name;
  Refusal (*can_run)(const GroupNormDesc&, const Context&);
  size_t (*scratch_bytes)(const GroupNormDesc&);  // of context.scratch
  Status (*run)(const Context&, const GroupNormDesc&, const GroupNormArgs&);
  DeviceKind device = DeviceKind::kCpu;
};

std::span<const GroupNormImplementation> group_norm_implementations();

// Of the implementation that `group_norm` chooses; 0 where none can run.
size_t group_norm_scratch_bytes(const Context& context, const GroupNormDesc& desc);
Status group_norm(const Context& context, const GroupNormDesc& desc, const GroupNormArgs& args);

}  // namespace intaglio
