// What is published of GPUs: the one table of cards. What a card is held against (peak_rates.h) and
// what a pass should take on it (advice/cost_model.h) are made of it.
#pragma once

#include <span>
#include <string_view>

namespace intaglio::cuda {

// Rates are dense, 1e12 operations a second; bf16 and fp8 with float sums. 0: the card has none, or
// it is not published.
struct Card {
  std::string_view name;  // part of the driver's name of the card
  int compute_capability = 0;
  int multiprocessors = 0;
  double clock_ghz = 0.0;  // boost
  double int8_tops = 0.0, bf16_tflops = 0.0, fp8_tflops = 0.0;
  double memory_gb_s = 0.0, memory_gb = 0.0;
  double host_gb_s = 0.0;  // copies from pinned host memory: by the width of its bus
  double peer_gb_s =
      0.0;  // NVLink, each direction; 0: cards that reach each other do it by the bus
  std::string_view source;  // of the rates
};

std::span<const Card> cards();

// By the driver's name; nullptr if the card is not in the table, or only a namesake of other size
// is ("NVIDIA L40" is no L4, "RTX 4090 D" no RTX 4090).
const Card* find_card(std::string_view device_name);

}  // namespace intaglio::cuda
