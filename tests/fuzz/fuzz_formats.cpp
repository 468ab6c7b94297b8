// Checkpoints of every format out of anything: the input as a descriptor of ComfyUI, and as a file
// whose linears are all decoded. What would lie beside a file, of how it was quantized, stands in
// its header under "quantization_config".
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz_check.h"
#include "fuzz/safetensors_input.h"
#include "io/formats/comfy.h"
#include "io/formats/stored_weights.h"
#include "quant/stored_linear.h"

namespace {

template <typename T>
void check_error(const intaglio::Expected<T>& result, std::string_view begin) {
  if (result) return;
  FUZZ_CHECK(result.error().message.starts_with(begin));
  FUZZ_CHECK(result.error().message.size() < 4096);
}

// The same, bit for bit, whether a row is read with the others or alone.
void check_row(const intaglio::StoredWeights& weights, const intaglio::LinearEntry& entry,
               const intaglio::StoredLinear& linear, int64_t row) {
  std::vector<float> together(static_cast<size_t>(entry.k)), alone(together.size());
  intaglio::dequantize_row(linear.rows(row, 1), 0, together.data());
  const int64_t which[] = {row};
  FUZZ_CHECK(weights.rows(entry.name, entry.k, which, alone.data()));
  FUZZ_CHECK(std::memcmp(together.data(), alone.data(), together.size() * sizeof(float)) == 0);
}

void read_linear(const intaglio::StoredWeights& weights, const intaglio::LinearEntry& entry) {
  FUZZ_CHECK(entry.n >= 1 && entry.k >= 1 && entry.values != nullptr);
  FUZZ_CHECK(intaglio::rotation_refusal(entry.k, entry.rotation) == nullptr);
  FUZZ_CHECK(entry.encoding == intaglio::Encoding::kInt8Rows ||
             (entry.rotation == intaglio::Rotation{} && entry.int8_decoder == nullptr));
  FUZZ_CHECK(entry.encoding == intaglio::Encoding::kFloat || entry.decoder == nullptr);
  const auto loaded = weights.linear(entry.name);
  check_error(loaded, "fuzz.safetensors: ");
  if (!loaded) return;
  FUZZ_CHECK(loaded->linear.values.shape == (intaglio::Shape{entry.n, entry.k}));
  check_row(weights, entry, loaded->linear, 0);
  check_row(weights, entry, loaded->linear, entry.n - 1);
}

void read_file(std::span<const std::byte> bytes) {
  const auto file = intaglio::SafetensorsFile::parse(bytes, "fuzz.safetensors");
  if (!file) return;
  const auto beside = (*file)->metadata().find("quantization_config");
  const auto weights = intaglio::StoredWeights::open(
      *file, beside == (*file)->metadata().end() ? std::string() : beside->second);
  check_error(weights, "fuzz.safetensors: ");
  if (!weights) return;
  for (const auto& [name, entry] : (*weights)->linears()) read_linear(**weights, entry);
  for (const auto& [name, entry] : (*weights)->tensors().tensors())
    check_error((*weights)->tensor(name), "fuzz.safetensors: ");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto descriptor = intaglio::parse_comfy_descriptor(
      {reinterpret_cast<const char*>(data), size}, "fuzz: P.comfy_quant");
  check_error(descriptor, "fuzz: P.comfy_quant: ");
  read_file(std::as_bytes(std::span(data, size)));
  visit_as_safetensors(data, size, read_file);
  return 0;
}
