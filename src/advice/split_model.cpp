#include "advice/split_model.h"

#include <algorithm>

namespace intaglio {
namespace {

constexpr double kMeetingMs = 0.03;

double gb(double bytes) { return 1e-9 * bytes; }

double ceil_share(int64_t count, int ranks) {
  const int64_t most = (count + ranks - 1) / ranks;
  return static_cast<double>(most) / static_cast<double>(count);
}

// Of a row of width 1: q, the output, k and v; q is int8 where attention takes int8 scores.
double bytes_a_row(Precision precision, int64_t group) {
  const double element = precision == Precision::kFp32 ? 4.0 : 2.0;
  const double q = precision == Precision::kInt8 ? 1.0 : element;
  return q + element + 2.0 * element / static_cast<double>(group);
}

}  // namespace

LinkRates link_rates(const CardRates& card, bool direct) {
  return {.gb_s = direct ? card.peer_gb_s : card.host_gb_s / 2.0, .meeting_ms = kMeetingMs};
}

std::optional<ModelledSplit> modelled_split(const CardRates& card, const LinkRates& link,
                                            const PassShape& shape, const SharedHeads& heads,
                                            Precision precision, int ranks) {
  const int64_t rows = shape.text_tokens + shape.image_tokens;
  const std::optional<ModelledPass> whole = modelled_pass(card, shape, precision);
  if (!whole || heads.keys < ranks || rows < ranks) return std::nullopt;
  const double of_rows = ceil_share(rows, ranks), of_heads = ceil_share(heads.keys, ranks);
  ModelledSplit split{.compute = {.linears_ms = whole->linears_ms * of_rows,
                                  .weights_ms = whole->weights_ms,
                                  .attention_ms = whole->attention_ms * of_heads,
                                  .passes_ms = whole->passes_ms * of_rows}};
  if (ranks == 1) return split;
  double layers = 0.0;
  for (const ListedLinear& linear : shape.linears)
    if (linear.work.attends) layers += static_cast<double>(linear.count);
  const double sent = static_cast<double>(rows * shape.width) * of_heads *
                      bytes_a_row(precision, heads.group) * (ranks - 1) / ranks;
  split.exchange_ms = layers * (1e3 * gb(sent) / link.gb_s + 2.0 * link.meeting_ms);
  return split;
}

double modelled_errand_ms(const LinkRates& link, int64_t values) {
  return 2.0 * (1e3 * gb(4.0 * static_cast<double>(values)) / link.gb_s + link.meeting_ms);
}

}  // namespace intaglio
