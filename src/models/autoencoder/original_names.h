// What the original files of the AutoencoderKL family call an autoencoder's modules
// (ae.safetensors, flux2-vae.safetensors).
#pragma once

#include <cstddef>
#include <span>

#include "models/parts/weights.h"

namespace intaglio::autoencoder {

// Of an autoencoder of so many widths, at most kMostWidths: a decoder's up blocks are counted from
// the other end. For good.
inline constexpr size_t kMostWidths = 8;
std::span<const ModuleAlias> original_names(size_t widths);

}  // namespace intaglio::autoencoder
