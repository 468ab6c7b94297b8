// safetensors files out of anything: the input as it is, and again as header and data with the
// length put right, the header ending at the first zero byte.
#include <span>
#include <string>

#include "fuzz/fuzz_check.h"
#include "fuzz/safetensors_input.h"
#include "io/safetensors.h"

namespace {

volatile unsigned char sink = 0;

void parse(std::span<const std::byte> bytes) {
  const auto file = intaglio::SafetensorsFile::parse(bytes, "fuzz.safetensors");
  if (!file) {
    FUZZ_CHECK(file.error().message.starts_with("fuzz.safetensors: "));
    FUZZ_CHECK(file.error().message.size() < 4096);
    return;
  }
  const std::byte* const end = bytes.data() + bytes.size();
  const std::string* previous = nullptr;
  for (const intaglio::TensorEntry& entry : (*file)->tensors()) {
    FUZZ_CHECK(previous == nullptr || *previous < entry.name);
    previous = &entry.name;
    FUZZ_CHECK((*file)->find(entry.name) == &entry);
    const auto* first = static_cast<const std::byte*>(entry.view.data);
    const size_t length = entry.view.size_bytes();
    FUZZ_CHECK(first >= bytes.data() && first <= end && length <= static_cast<size_t>(end - first));
    if (length > 0)
      sink = static_cast<unsigned char>(first[0]) ^ static_cast<unsigned char>(first[length - 1]);
    for (int axis = 0; axis < entry.view.shape.rank; ++axis)
      FUZZ_CHECK(entry.view.shape[axis] >= 0);
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  parse(std::as_bytes(std::span(data, size)));
  visit_as_safetensors(data, size, parse);
  return 0;
}
