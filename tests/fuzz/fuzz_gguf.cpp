// GGUF files out of anything: the input as it is, and again with the numbers of tensors and keys
// cut down to what may be there, so that mutations reach what follows.
#include <cstring>
#include <memory>
#include <span>
#include <string>

#include "fuzz/fuzz_check.h"
#include "io/gguf.h"

namespace {

volatile unsigned char sink = 0;

void parse(std::span<const std::byte> bytes) {
  const auto file = intaglio::GgufFile::parse(bytes, "fuzz.gguf");
  if (!file) {
    FUZZ_CHECK(file.error().message.starts_with("fuzz.gguf: "));
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
    FUZZ_CHECK(length > 0 && first >= bytes.data());
    FUZZ_CHECK(first <= end && length <= static_cast<size_t>(end - first));
    sink = static_cast<unsigned char>(first[0]) ^ static_cast<unsigned char>(first[length - 1]);
    FUZZ_CHECK(entry.shape().count() >= 1);
    FUZZ_CHECK(entry.blocks.has_value() == !entry.foreign.empty());
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  parse(std::as_bytes(std::span(data, size)));
  constexpr size_t kCounts = 8;  // of tensors, then of keys, 8 bytes each
  if (size < kCounts + 16) return 0;
  const auto copy = std::make_unique<uint8_t[]>(size);
  std::memcpy(copy.get(), data, size);
  std::memcpy(copy.get(), "GGUF\3\0\0\0", kCounts);
  for (const size_t count : {kCounts, kCounts + 8}) {
    copy[count] &= 7u;
    std::memset(copy.get() + count + 1, 0, 7);
  }
  parse(std::as_bytes(std::span(copy.get(), size)));
  return 0;
}
