// What was measured on one card: the fastest kernel of each bucket of shapes, and the JSON it is
// kept in.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "core/status.h"
#include "ops/cuda/tuning/s8_gemm_choice.h"

namespace intaglio::cuda {

// Raise it when a change of the kernels makes old measurements mislead: all tables of before are
// then foreign.
inline constexpr int kS8GemmKernelVersion = 1;
// Of the JSON.
inline constexpr int kTuningFormatVersion = 1;

// What a measurement depends on beside the shape.
struct TuningKey {
  std::string card;  // CudaDevice::name
  int compute_capability = 0;
  int driver_version = 0;
  int kernel_version = kS8GemmKernelVersion;
  bool operator==(const TuningKey&) const = default;
};
TuningKey tuning_key(const CudaDevice& device);
std::string describe(const TuningKey& key);
// Same card and kernels; the driver may differ.
bool same_card(const TuningKey& a, const TuningKey& b);

struct TuningEntry {
  S8GemmShape shape;  // m is a bucket
  S8GemmChoice choice;
  double median_ms = 0;
};

class TuningTable {
 public:
  TuningKey key;

  // The entry of the bucket of `shape`, or nullptr.
  const TuningEntry* find(const S8GemmShape& shape) const;
  // Replaces the entry of the bucket of entry.shape.
  void set(TuningEntry entry);
  // All entries of `newer` replace ours.
  void merge(const TuningTable& newer);
  std::vector<TuningEntry> entries() const;
  size_t size() const { return entries_.size(); }

 private:
  using Place =
      std::tuple<int64_t, int64_t, GemmEpilogue, DType, int64_t>;  // n, k, epilogue, out, m
  static Place place_of(const S8GemmShape& shape);
  std::map<Place, TuningEntry> entries_;
};

struct ParsedTuningTable {
  TuningTable table;
  std::vector<std::string> skipped;  // entries that are wrong, and why
};

// Errors: kBadFormat if it is not a table of this format version or its key is wrong. A wrong entry
// is skipped, not fatal.
Expected<ParsedTuningTable> parse_tuning_table(std::string_view text, const std::string& name);

// One entry a line, in a fixed order.
std::string tuning_table_text(const TuningTable& table);

}  // namespace intaglio::cuda
