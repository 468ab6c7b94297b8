#include "io/formats/gguf_weights.h"

#include <fmt/ranges.h>

#include <memory>
#include <string>
#include <string_view>

#include "io/formats/ggml_blocks.h"
#include "io/printable.h"

namespace intaglio {
namespace {

constexpr std::string_view kWeight = ".weight";
// Of a file that is one of several, as llama.cpp splits them.
constexpr const char* kSplitCount = "split.count";

class BlockDecoder : public LinearDecoder {
 public:
  explicit BlockDecoder(const TensorEntry& entry) : entry_(entry) {}
  Status rows(int64_t begin, int64_t end, float* out) const override {
    const int64_t k = entry_.shape()[1];
    return read_block_floats(entry_, begin * k, (end - begin) * k, out);
  }

 private:
  const TensorEntry& entry_;
};

Status refuse_splits(const TensorSet& tensors) {
  for (const std::string_view count : tensors.metadata(kSplitCount)) {
    if (count == "0" || count == "1") continue;
    return make_error(ErrorCode::kUnsupported,
                      "{}: {} is {}: one of several files, expected all tensors in one",
                      tensors.path(), kSplitCount, printable(count, 60));
  }
  return {};
}

tl::unexpected<Error> int8_without_descriptor(const TensorSet& tensors, const TensorEntry& weight,
                                              const std::string& layer) {
  const bool scaled = tensors.find(layer + ".weight_scale") != nullptr;
  return make_error(ErrorCode::kUnsupported,
                    "{}: {}: found {} {}; GGUF files of int8 linears have lost the note that says "
                    "whether their columns are turned (ConvRot), and a guess would draw noise; use "
                    "the safetensors file that this one was made from",
                    tensors.path(), printable(weight.name), type_and_shape(weight),
                    scaled ? "with weight_scale" : "without scales");
}

}  // namespace

Refusal gguf_refusal(const TensorSet& tensors) {
  return tensors.is_gguf() ? nullptr : "no GGUF file";
}

Expected<std::vector<LinearEntry>> gguf_linears(const TensorSet& tensors) {
  INTAGLIO_TRY(refuse_splits(tensors));
  std::vector<LinearEntry> linears = float_linears(tensors);
  for (const auto& [name, entry] : tensors.tensors()) {
    if (!name.ends_with(kWeight) || entry->shape().rank != 2) continue;
    std::string layer = name.substr(0, name.size() - kWeight.size());
    if (has_type(*entry, DType::kI8)) return int8_without_descriptor(tensors, *entry, layer);
    if (!has_decoded_blocks(*entry)) continue;
    linears.push_back({.name = std::move(layer),
                       .n = entry->shape()[0],
                       .k = entry->shape()[1],
                       .values = entry,
                       .decoder = std::make_shared<BlockDecoder>(*entry)});
  }
  return linears;
}

}  // namespace intaglio
