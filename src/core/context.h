// What an op runs on: threads, instruction set, scratch memory. The caller owns all of it.
#pragma once

#include <cstdint>

#include "core/arena.h"
#include "core/cpu_features.h"
#include "core/parallel.h"

namespace intaglio {

struct Context {
  int threads = 1;
  CpuFeatures cpu;
  Arena* scratch = nullptr;  // ops take what they need in a scope and give it back before they return
};

}  // namespace intaglio
