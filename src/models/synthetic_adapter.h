// Adapters of random numbers, for benchmarks and tests: what one costs is what any of its rank
// costs.
#pragma once

#include <cstdint>
#include <filesystem>

#include "core/status.h"
#include "models/model.h"

namespace intaglio {

inline constexpr int64_t kMostSyntheticRank = 1024;

struct SyntheticAdapter {
  int64_t rank = 16;  // 1 to kMostSyntheticRank
  uint64_t seed = 1;
  bool biases = false;  // beside the second factors, as PEFT's lora_bias has them
  // Only of linears whose name ends so, in components: "feed_forward.w2"; empty: of all.
  std::string_view only = {};
};

// Writes a low rank of bf16 for every linear of the model's transformers that int8 is meant for,
// under its own name. The share of a product that it adds is about a tenth of the weights' own.
Status write_synthetic_adapter(const Model& model, const SyntheticAdapter& adapter,
                               const std::filesystem::path& path);

}  // namespace intaglio
