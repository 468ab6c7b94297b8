#include "core/cpu_features.h"

#include <array>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace intaglio {
namespace {

constexpr std::array<std::string_view, 4> kIsaNames{"ref", "avx2", "avx512vnni", "amx"};

#if defined(__x86_64__)

struct CpuidRegisters {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidRegisters cpuid(unsigned leaf, unsigned subleaf) {
  CpuidRegisters r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

uint64_t read_xcr0() {
  unsigned eax = 0;
  unsigned edx = 0;
  __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return (static_cast<uint64_t>(edx) << 32) | eax;
}

bool bit(unsigned value, int index) { return ((value >> index) & 1u) != 0; }

// Tile data needs one permission per process: arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA).
bool request_amx_permission() {
#if defined(__linux__)
  constexpr long kArchReqXcompPerm = 0x1023;
  constexpr long kXfeatureXtiledata = 18;
  return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0;
#else
  return false;
#endif
}

std::string read_brand() {
  std::array<char, 49> text{};
  for (unsigned i = 0; i < 3; ++i) {
    const CpuidRegisters r = cpuid(0x80000002u + i, 0);
    std::memcpy(text.data() + 16 * i, &r, 16);
  }
  std::string brand(text.data());
  while (!brand.empty() && brand.back() == ' ') brand.pop_back();
  return brand;
}

// "GenuineIntel" lies in ebx, edx, ecx.
bool is_intel() {
  const CpuidRegisters r = cpuid(0, 0);
  return r.ebx == 0x756e6547 && r.edx == 0x49656e69 && r.ecx == 0x6c65746e;
}

CpuFeatures detect() {
  CpuFeatures features;
  features.brand = read_brand();
  const CpuidRegisters leaf1 = cpuid(1, 0);
  const CpuidRegisters leaf7 = cpuid(7, 0);
  const CpuidRegisters leaf7_1 = cpuid(7, 1);
  if (!bit(leaf1.ecx, 27)) return features;  // no OSXSAVE: the system saves no vector state
  const uint64_t xcr0 = read_xcr0();
  const bool avx2 =
      (xcr0 & 0x6) == 0x6 && bit(leaf7.ebx, 5) && bit(leaf1.ecx, 12) && bit(leaf1.ecx, 29);
  if (!avx2) return features;
  features.isa = CpuIsa::kAvx2;
  const bool avx512 = (xcr0 & 0xe6) == 0xe6 && bit(leaf7.ebx, 16) && bit(leaf7.ebx, 17) &&
                      bit(leaf7.ebx, 30) && bit(leaf7.ebx, 31);
  if (!avx512 || !bit(leaf7.ecx, 11)) return features;
  features.isa = CpuIsa::kAvx512Vnni;
  features.avx512_bf16 = bit(leaf7_1.eax, 5);
  features.fast_bf16_dot = features.avx512_bf16 && !is_intel();
  const bool amx = (xcr0 & 0x60000) == 0x60000 && bit(leaf7.edx, 24) && bit(leaf7.edx, 25);
  if (!amx || !features.avx512_bf16 || !request_amx_permission()) return features;
  features.isa = CpuIsa::kAmx;
  features.amx_bf16 = bit(leaf7.edx, 22);
  return features;
}

#else
CpuFeatures detect() { return {}; }
#endif

}  // namespace

std::string_view cpu_isa_name(CpuIsa isa) { return kIsaNames[static_cast<size_t>(isa)]; }

std::optional<CpuIsa> cpu_isa_from_name(std::string_view name) {
  for (size_t i = 0; i < kIsaNames.size(); ++i) {
    if (kIsaNames[i] == name) return static_cast<CpuIsa>(i);
  }
  return std::nullopt;
}

const CpuFeatures& host_cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

CpuFeatures limit_cpu_features(const CpuFeatures& features, CpuIsa limit) {
  CpuFeatures limited = features;
  if (limit < limited.isa) limited.isa = limit;
  if (limited.isa < CpuIsa::kAvx512Vnni) limited.avx512_bf16 = limited.fast_bf16_dot = false;
  if (limited.isa < CpuIsa::kAmx) limited.amx_bf16 = false;
  return limited;
}

Expected<CpuFeatures> selected_cpu_features() {
  const CpuFeatures& host = host_cpu_features();
  const char* value = std::getenv("INTAGLIO_CPU_ISA");
  if (value == nullptr || *value == '\0') return host;
  const auto isa = cpu_isa_from_name(value);
  if (!isa) {
    return make_error(ErrorCode::kInvalidArgument,
                      "INTAGLIO_CPU_ISA is '{}'; expected one of ref, avx2, avx512vnni, amx",
                      value);
  }
  if (*isa > host.isa) {
    return make_error(ErrorCode::kUnsupported,
                      "INTAGLIO_CPU_ISA asks for {}, but this processor ({}) reaches {}", value,
                      host.brand, cpu_isa_name(host.isa));
  }
  return limit_cpu_features(host, *isa);
}

}  // namespace intaglio
