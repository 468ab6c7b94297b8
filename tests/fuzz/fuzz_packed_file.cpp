// Files of packed weights out of anything: the input as it is, and again as an index with a trailer
// that is right, 64 bytes of weights before it.
#include <algorithm>
#include <span>
#include <vector>

#include "fuzz/fuzz_check.h"
#include "io/packed_file.h"

namespace {

volatile unsigned char sink = 0;

void parse(std::span<const std::byte> bytes) {
  const auto index = intaglio::parse_packed(bytes, "fuzz.packed");
  if (!index) {
    FUZZ_CHECK(index.error().message.starts_with("fuzz.packed: "));
    FUZZ_CHECK(index.error().message.size() < 4096);
    return;
  }
  for (const intaglio::PackedRecord& record : index->records) {
    for (const intaglio::PackedRun& run : record.runs) {
      FUZZ_CHECK(run.at % intaglio::kPackedAlignment == 0);
      FUZZ_CHECK(run.at <= bytes.size() && run.bytes <= bytes.size() - run.at);
      if (run.bytes > 0)
        sink = static_cast<unsigned char>(bytes[run.at]) ^
               static_cast<unsigned char>(bytes[run.at + run.bytes - 1]);
    }
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const std::byte> input = std::as_bytes(std::span(data, size));
  parse(input);
  std::vector<std::byte> file(intaglio::kPackedAlignment);
  file.insert(file.end(), input.begin(), input.end());
  const std::vector<std::byte> trailer =
      intaglio::packed_trailer(input, intaglio::kPackedAlignment);
  file.insert(file.end(), trailer.begin(), trailer.end());
  parse(file);
  return 0;
}
