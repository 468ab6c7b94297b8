// What a step should take on several equal cards, a pass each, a part of the rows of every pass
// each, or each half of them a part of one pass's (docs/several-cards.md), without running it:
// compute by advice/cost_model.h, and a link.
//
//   a pass each   the longer pass, where a step has both + latents out and a velocity back
//   of N ranks    linears, norms   x ceil(L / N) / L, rows
//                 weights          x 1, as each rank writes its own anew
//                 attention        x ceil(H / N) / H, heads
//                 exchange         layers x (bytes a row x L x (N - 1) / N x ceil(H / N) / H
//                                            / rate + 2 meetings)
//
// H are key heads, each of which a group of query heads reads.
#pragma once

#include <cstdint>
#include <optional>

#include "advice/cost_model.h"

namespace intaglio {

// Between each two cards, all at once and both ways.
struct LinkRates {
  double gb_s = 0.0;        // out of a card, and as much into it
  double meeting_ms = 0.0;  // of an exchange beside its bytes: threads that meet, events, launches
};

// `direct`: the cards reach each other's memory. By way of the host each byte crosses a bus twice,
// one way behind the other. What a meeting takes is assumed.
LinkRates link_rates(const CardRates& card, bool direct);

struct ModelledSplit {
  ModelledPass compute;  // of the rank that has most
  double exchange_ms = 0.0;
  double total_ms() const { return compute.total_ms() + exchange_ms; }
};

// Heads of attention: key heads, and the query heads that read each.
struct SharedHeads {
  int64_t keys = 0, group = 1;
};

// A pass whose rows `ranks` cards share. nullopt where modelled_pass is, or with fewer key heads or
// rows than ranks.
std::optional<ModelledSplit> modelled_split(const CardRates& card, const LinkRates& link,
                                            const PassShape& shape, const SharedHeads& heads,
                                            Precision precision, int ranks);

// What a pass on another card adds: latents there, a velocity back; each `values` floats.
double modelled_errand_ms(const LinkRates& link, int64_t values);

}  // namespace intaglio
