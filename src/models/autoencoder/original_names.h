// What the original files of the AutoencoderKL family call a decoder's modules (ae.safetensors,
// flux2-vae.safetensors).
#pragma once

#include <cstddef>
#include <span>

#include "models/parts/weights.h"

namespace intaglio::autoencoder {

// Of a decoder of so many widths, at most kMostWidths: its up blocks are counted from the other
// end. For good.
inline constexpr size_t kMostWidths = 8;
std::span<const ModuleAlias> original_names(size_t widths);

}  // namespace intaglio::autoencoder
