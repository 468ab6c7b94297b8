// Adapter files out of anything: every module of a size that a small model has is read and merged
// into a weight.
#include <span>
#include <string_view>
#include <vector>

#include "fuzz/fuzz_check.h"
#include "fuzz/safetensors_input.h"
#include "io/formats/lora.h"

namespace {

template <typename T>
void check_error(const intaglio::Expected<T>& result) {
  if (result) return;
  FUZZ_CHECK(result.error().message.starts_with("fuzz.safetensors: "));
  FUZZ_CHECK(result.error().message.size() < 4096);
}

void read_module(const intaglio::AdapterFile& file, const intaglio::AdapterModule& module) {
  constexpr int64_t kMostSide = 512;
  if (!module.changes_weight()) return;
  const auto shape = file.shape_of(module);
  check_error(shape);
  // A model asks for numbers only where the shape is that of its module.
  if (!shape || shape->n > kMostSide || shape->k > kMostSide) return;
  const auto numbers = file.read_numbers(module);
  check_error(numbers);
  if (!numbers) return;
  std::vector<float> row(static_cast<size_t>(shape->k), 1.0f), work(3 * row.size());
  numbers->merge_row(0, 0.5f, row.data(), work.data());
  numbers->merge_row(shape->n - 1, 0.5f, row.data(), work.data());
}

void read_file(std::span<const std::byte> bytes) {
  auto file = intaglio::SafetensorsFile::parse(bytes, "fuzz.safetensors");
  if (!file) return;
  const auto adapter = intaglio::AdapterFile::read(std::move(*file));
  if (!adapter) {
    FUZZ_CHECK(adapter.error().message.size() < 4096);
    return;
  }
  for (const intaglio::AdapterModule* const module : (*adapter)->modules())
    read_module(**adapter, *module);
  FUZZ_CHECK((*adapter)->seems_for().size() < 100);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  read_file(std::as_bytes(std::span(data, size)));
  visit_as_safetensors(data, size, read_file);
  return 0;
}
