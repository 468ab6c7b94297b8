// What kernels are tested with on this machine.
#pragma once

#include <vector>

#include "core/context.h"
#include "core/cpu_features.h"

namespace intaglio::test {

// Each level up to the host's own, and those whose bf16 instructions make other kernels run also
// without them, and with those that are not chosen here as they are slower.
inline std::vector<CpuFeatures> tested_cpus() {
  std::vector<CpuFeatures> list;
  for (const CpuIsa isa : {CpuIsa::kRef, CpuIsa::kAvx2, CpuIsa::kAvx512Vnni, CpuIsa::kAmx}) {
    if (isa > host_cpu_features().isa) break;
    CpuFeatures cpu = limit_cpu_features(host_cpu_features(), isa);
    list.push_back(cpu);
    if (!cpu.avx512_bf16 && !cpu.amx_bf16) continue;
    if (cpu.avx512_bf16 != cpu.fast_bf16_dot) {
      cpu.fast_bf16_dot = true;
      list.push_back(cpu);
    }
    cpu.avx512_bf16 = cpu.fast_bf16_dot = cpu.amx_bf16 = false;
    list.push_back(cpu);
  }
  return list;
}

// The host's own instructions.
inline Context host_context(int threads = 2) {
  return {.threads = threads, .cpu = host_cpu_features()};
}

}  // namespace intaglio::test
