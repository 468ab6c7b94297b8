// The tensors of GGUF files: floats lie as they are, blocks (io/formats/ggml_blocks.h) are decoded
// when they are asked for. Names are those of the checkpoint it was made from, or llama.cpp's; what
// the file says of its architecture is not asked.
//
// Int8 without blocks is refused: the program that writes it (stable-diffusion.cpp) drops the
// descriptor that says whether the columns are turned, and a guess would draw noise.
#pragma once

#include <vector>

#include "io/formats/formats.h"

namespace intaglio {

Refusal gguf_refusal(const TensorSet& tensors);
Expected<std::vector<LinearEntry>> gguf_linears(const TensorSet& tensors);

}  // namespace intaglio
