// Files of step masks. What is taken is the same once it was written and read again.
#include <string_view>

#include "fuzz/fuzz_check.h"
#include "models/step_mask.h"

using namespace intaglio;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = JsonConfig::parse({reinterpret_cast<const char*>(data), size}, "fuzz.json");
  if (!file) return 0;
  const auto masks = read_step_masks(*file);
  if (!masks) {
    FUZZ_CHECK(!masks.error().message.empty());
    return 0;
  }
  const auto written = JsonConfig::parse(step_masks_text(*masks), "again.json");
  FUZZ_CHECK(written.has_value());
  const auto again = read_step_masks(*written);
  FUZZ_CHECK(again.has_value());
  FUZZ_CHECK(*again == *masks);
  return 0;
}
