// Tables of tuning results out of anything: what is read must be within bounds and read back the
// same.
#include <string>
#include <string_view>

#include "fuzz/fuzz_check.h"
#include "ops/cuda/tuning/shape_bucket.h"
#include "ops/cuda/tuning/tuning_table.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace intaglio::cuda;
  const auto parsed = parse_tuning_table({reinterpret_cast<const char*>(data), size}, "fuzz.json");
  if (!parsed) {
    FUZZ_CHECK(parsed.error().message.starts_with("fuzz.json: "));
    return 0;
  }
  for (const TuningEntry& entry : parsed->table.entries()) {
    FUZZ_CHECK(bucket_m(entry.shape.m) == entry.shape.m);
    FUZZ_CHECK(entry.shape.n >= 1 && entry.shape.k >= 1);
    FUZZ_CHECK(entry.choice.band >= 1 && entry.choice.split_k >= 1);
    FUZZ_CHECK(!entry.choice.config.empty() && entry.choice.config.size() <= 40);
    FUZZ_CHECK(entry.median_ms > 0);
    FUZZ_CHECK(parsed->table.find(entry.shape) != nullptr);
  }
  const std::string text = tuning_table_text(parsed->table);
  const auto again = parse_tuning_table(text, "again.json");
  FUZZ_CHECK(again && again->skipped.empty());
  FUZZ_CHECK(again->table.key == parsed->table.key && tuning_table_text(again->table) == text);
  return 0;
}
