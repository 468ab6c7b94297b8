// What a pass of the transformer should take on a card, without running it: a roofline with the
// shares of each limit that the kernels reached on an H100. It ranks precisions where nothing was
// measured, and makes the modelled rows of docs/deployment-map.md, which also holds it against
// measurements.
//
//   linears     2 m n k / (share x peak rate of the precision's product)
//   weights     bytes of weights that a pass writes anew (int8-dequant, nf4) / (share x memory rate)
//   attention   4 L^2 d: score product at the rate of its type, P V at bf16's; by mma.sync shared memory may be slower, and then decides
//   passes      bytes of norms, residuals, rope, quantization / (share x memory rate)
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/cuda_device.h"
#include "models/parts/modules.h"
#include "models/parts/selection.h"

namespace intaglio {

// Rates of a card, dense. Of the instructions that this engine's kernels use on it: wgmma on
// compute capability 9.0, mma.sync elsewhere.
struct CardRates {
  std::string_view name;  // part of the driver's name of the card
  int compute_capability = 0;
  int multiprocessors = 0;
  double clock_ghz = 0.0;
  double s8_tops = 0.0;      // int8 products, int32 sums
  double bf16_tflops = 0.0;  // float sums
  // What cuBLASLt may use; the same but for cards whose newest instructions this engine has no
  // kernels for
  double bf16_lt_tflops = 0.0;
  double fp8_tflops = 0.0;  // 0: no product with row and column scales
  double memory_gb_s = 0.0;
  double memory_gb = 0.0;
  double host_gb_s = 0.0;   // copies from pinned host memory
  double peer_gb_s = 0.0;   // from another card that it reaches, each direction
  std::string_view source;  // of the rates
};

// Those that the modelled tables show.
std::span<const CardRates> known_cards();
// Of ops/cuda/tuning/cards.h; else rates a clock of its generation at 1.7 GHz.
CardRates card_rates(const CudaDevice& device);
// The same card kept to the instructions of compute capability 8.x.
CardRates without_wgmma(CardRates card);

struct ModelledPass {
  double linears_ms = 0.0, weights_ms = 0.0, attention_ms = 0.0, passes_ms = 0.0;
  double total_ms() const { return linears_ms + weights_ms + attention_ms + passes_ms; }
};

// What a pass computes.
struct PassShape {
  int64_t width = 0;  // of the residual stream
  std::vector<ListedLinear> linears;
  int64_t text_tokens = 0, image_tokens = 0;
};

// nullopt if the card has no products of this precision.
std::optional<ModelledPass> modelled_pass(const CardRates& card, const PassShape& shape,
                                          Precision precision);

}  // namespace intaglio
