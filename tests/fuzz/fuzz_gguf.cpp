// GGUF files out of anything: the input as it is, and again with the numbers of tensors and keys
// cut down to what may be there, so that mutations reach what follows. Everything in it is read.
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "fuzz/fuzz_check.h"
#include "io/formats/stored_weights.h"
#include "io/gguf.h"

namespace {

volatile unsigned char sink = 0;

template <typename T>
void check_error(const intaglio::Expected<T>& result, std::string_view begin) {
  if (result) return;
  FUZZ_CHECK(result.error().message.starts_with(begin));
  FUZZ_CHECK(result.error().message.size() < 4096);
}

void read_weights(const std::shared_ptr<const intaglio::GgufFile>& file) {
  const auto weights = intaglio::StoredWeights::open(file);
  check_error(weights, "fuzz.gguf: ");
  if (!weights) return;
  for (const auto& [name, entry] : (*weights)->linears()) {
    FUZZ_CHECK(entry.n >= 1 && entry.k >= 1);
    check_error((*weights)->linear(name), "fuzz.gguf: ");
  }
  for (const auto& [name, entry] : (*weights)->tensors().tensors()) {
    const auto tensor = (*weights)->tensor(name);
    check_error(tensor, "fuzz.gguf: ");
    if (tensor) FUZZ_CHECK(tensor->view.data != nullptr);
  }
}

void parse(std::span<const std::byte> bytes) {
  const auto file = intaglio::GgufFile::parse(bytes, "fuzz.gguf");
  check_error(file, "fuzz.gguf: ");
  if (!file) return;
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
  read_weights(*file);
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
