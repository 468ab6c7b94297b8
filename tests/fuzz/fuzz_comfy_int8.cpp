// Descriptors of int8 checkpoints out of anything, alone and in files: the input as a descriptor,
// and as a file whose linears are all read.
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/fuzz_check.h"
#include "fuzz/safetensors_input.h"
#include "io/formats/comfy_int8.h"
#include "io/formats/stored_weights.h"
#include "quant/stored_linear.h"

namespace {

template <typename T>
void check_error(const intaglio::Expected<T>& result, std::string_view begin) {
  if (result) return;
  FUZZ_CHECK(result.error().message.starts_with(begin));
  FUZZ_CHECK(result.error().message.size() < 4096);
}

void read_linear(const intaglio::StoredWeights& weights, const intaglio::LinearEntry& entry) {
  FUZZ_CHECK(entry.n >= 1 && entry.k >= 1);
  FUZZ_CHECK(intaglio::rotation_refusal(entry.k, entry.rotation) == nullptr);
  FUZZ_CHECK(entry.encoding == intaglio::Encoding::kInt8Rows ||
             entry.rotation == intaglio::Rotation{});
  const auto loaded = weights.linear(entry.name);
  check_error(loaded, "fuzz.safetensors: ");
  if (!loaded) return;
  std::vector<float> row(static_cast<size_t>(entry.k));
  const intaglio::StoredLinear last = loaded->linear.rows(entry.n - 1, 1);
  intaglio::dequantize_row(last, 0, row.data());
}

void read_file(std::span<const std::byte> bytes) {
  const auto file = intaglio::SafetensorsFile::parse(bytes, "fuzz.safetensors");
  if (!file) return;
  const auto weights = intaglio::StoredWeights::open(*file);
  check_error(weights, "fuzz.safetensors: ");
  if (!weights) return;
  for (const auto& [name, entry] : (*weights)->linears()) read_linear(**weights, entry);
  for (const auto& [name, entry] : (*weights)->tensors().tensors())
    check_error((*weights)->tensor(name), "fuzz.safetensors: ");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto descriptor = intaglio::parse_comfy_int8({reinterpret_cast<const char*>(data), size},
                                                     "fuzz: P.comfy_quant");
  check_error(descriptor, "fuzz: P.comfy_quant: ");
  read_file(std::as_bytes(std::span(data, size)));
  visit_as_safetensors(data, size, read_file);
  return 0;
}
