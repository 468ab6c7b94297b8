// The "quantization_config" of SDNQ's checkpoints (io/formats/sdnq.h), read and written.
//   {"quant_method": "sdnq", "weights_dtype": "int8", "use_hadamard": true,
//    "hadamard_group_size": 256, "modules_quant_config": {"P.weight": {"hadamard_group_size": 64}},
//    "modules_to_not_convert": ["Q.weight"], ...}
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"
#include "io/json_config.h"

namespace intaglio {

struct SdnqHadamard {
  bool used = false;
  int64_t most = 256;  // columns of a group: sdnq_hadamard_group
};

struct SdnqConfig {
  SdnqHadamard all;
  std::map<std::string, SdnqHadamard, std::less<>> modules;  // those that have their own

  const SdnqHadamard& of(std::string_view module) const;
};

// kUnsupported for what changes the numbers and is not read, modules named by patterns among it.
Expected<SdnqConfig> read_sdnq_config(const JsonConfig& config);

// Columns of a group that SDNQ turns together, of `k`: the smallest power of two of at least
// min(k, most), halved until it divides k; 0, none, where that is below 4.
int64_t sdnq_hadamard_group(int64_t k, int64_t most);

// A matrix of a file whose int8 weights have a scale a row.
struct SdnqLinear {
  std::string name;
  int64_t k = 0;
  bool quantized = false;
  int64_t group = 0;  // columns that were turned together, a power of 4; 0: none
};

// JSON that names every matrix which is not quantized, and every one whose group is another than
// most have: SDNQ looks at a module's class and at these names, not at the file. Empty: nothing is
// quantized.
std::string sdnq_config_text(std::span<const SdnqLinear> linears);

}  // namespace intaglio
