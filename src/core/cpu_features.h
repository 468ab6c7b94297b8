// What this processor can run, asked once; INTAGLIO_CPU_ISA=ref|avx2|avx512vnni|amx forces a lower
// level for tests and comparisons.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/status.h"

namespace intaglio {

// Instruction-set levels the kernels are written for, each including those before it.
enum class CpuIsa { kRef, kAvx2, kAvx512Vnni, kAmx };

std::string_view cpu_isa_name(CpuIsa isa);  // "ref", "avx2", "avx512vnni", "amx"
std::optional<CpuIsa> cpu_isa_from_name(std::string_view name);

struct CpuFeatures {
  CpuIsa isa = CpuIsa::kRef;  // the highest level usable
  bool avx512_bf16 = false;   // vdpbf16ps; only with isa >= kAvx512Vnni
  // vdpbf16ps multiplies more a cycle than fp32 multiply-adds of widened operands: not Intel's,
  // which was measured to do two thirds; AMD's is taken to. Only with avx512_bf16.
  bool fast_bf16_dot = false;
  bool amx_bf16 = false;  // tdpbf16ps; only with isa == kAmx
  std::string brand;      // e.g. "AMD EPYC 9V74 80-Core Processor"
};

// Reads CPUID and, for AMX, asks the kernel for permission to use tile data. The result is cached.
const CpuFeatures& host_cpu_features();

// `features` lowered to at most `limit`.
CpuFeatures limit_cpu_features(const CpuFeatures& features, CpuIsa limit);

// The host's features lowered by INTAGLIO_CPU_ISA if it is set; an error if it names no level or
// one this CPU lacks.
Expected<CpuFeatures> selected_cpu_features();

}  // namespace intaglio
