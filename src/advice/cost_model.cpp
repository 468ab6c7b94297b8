#include "advice/cost_model.h"

#include <algorithm>

#include "ops/cuda/tuning/cards.h"
#include "ops/cuda/tuning/peak_rates.h"

namespace intaglio {
namespace {

// Shares of the peak that whole passes reached on an H100 80GB HBM3 (bench/results/map_h100.json
// and h100_step.json).
struct Shares {
  double s8_linears = 0.0, bf16_linears = 0.0, fp8_linears = 0.0;
  double s8_attention = 0.0, bf16_attention = 0.0;
};
constexpr Shares kWgmma{.s8_linears = 0.69,
                        .bf16_linears = 0.70,
                        .fp8_linears = 0.58,
                        .s8_attention = 0.61,
                        .bf16_attention = 0.69};
// mma.sync, of this many 1e12 operations on an H100.
constexpr double kMmaS8 = 1250.0, kMmaBf16 = 625.0, kH100Multiprocessors = 132.0;
constexpr Shares kMma{.s8_linears = 0.76,
                      .bf16_linears = 0.90,  // cuBLASLt; a healthy RTX 3090 does 65.5 of 71
                      .fp8_linears = 0.0,
                      .s8_attention = 0.80,
                      .bf16_attention = 0.66};
constexpr double kMemoryShare = 0.82;

// Attention by mma.sync reads its operands from shared memory: TFLOP/s that this allows on an
// H100's 132 multiprocessors at 1.98 GHz.
constexpr double kSharedS8 = 560.0, kSharedBf16 = 420.0, kSharedAt = 132 * 1.98;

constexpr int kWgmmaCapability = 90, kDataCentreBlackwell = 100;

// The rows of the modelled tables.
constexpr std::string_view kAdvised[] = {"H100 80GB HBM3", "H200",     "A100-SXM4-80GB", "RTX 3090",
                                         "RTX 4090",       "RTX 5090", "RTX 3060",       "B200"};

bool uses_wgmma(const CardRates& card) { return card.compute_capability == kWgmmaCapability; }

double gop(double rate_tops, double operations) { return 1e-9 * operations / rate_tops; }  // ms

// A pass in numbers.
struct Sizes {
  double width = 0.0, linear_operations = 0.0, weights = 0.0;
  double plane = 0.0;      // values of the residual stream, of all layers
  double hidden = 0.0;     // values of the feed-forwards' inner rows, of all layers
  double attention = 0.0;  // operations of each of attention's two products, of all layers
};

double rows_of(const PassShape& shape, LinearRows rows) {
  const int64_t image = rows == LinearRows::kText ? 0 : shape.image_tokens;
  const int64_t text = rows == LinearRows::kImage ? 0 : shape.text_tokens;
  return static_cast<double>(image + text);
}

Sizes sizes_of(const PassShape& shape) {
  Sizes s{.width = static_cast<double>(shape.width)};
  for (const ListedLinear& linear : shape.linears) {
    if (linear.once) continue;
    const double rows = rows_of(shape, linear.rows);
    const double values = static_cast<double>(linear.n * linear.k * linear.count);
    const auto count = static_cast<double>(linear.count);
    s.linear_operations += 2.0 * rows * values;
    s.weights += values;
    if (linear.work.hidden > 0) {
      s.hidden += count * rows * static_cast<double>(linear.work.hidden);
      s.plane += count * rows * s.width;
    }
    if (linear.work.attends) {
      const double attended = rows_of(shape, *linear.work.attends);
      s.attention += count * 2.0 * attended * attended * s.width;
    }
  }
  return s;
}

// Bytes of weights that are read and written beside the products that read them.
double rewritten_bytes(Precision precision, double weights) {
  if (precision == Precision::kInt8Dequant) return weights * (1.0 + 2.0);
  if (precision == Precision::kNf4) return weights * (0.5 + 0.0625 + 2.0);
  return 0.0;
}

// Of a pass, all layers: h in and out and the linear's output in, twice a layer, then the next
// linear's rows; q and k through norm and rope; rows to int8 or e4m3.
double passes_bytes(Precision precision, const Sizes& s) {
  const double element = precision == Precision::kFp32 ? 4.0 : 2.0;
  const bool narrow = precision == Precision::kInt8 || precision == Precision::kFp8;
  const double next = narrow ? 1.0 : element;
  const double residuals = 2.0 * (8.0 + element + next);
  const double rope = precision == Precision::kInt8 ? 10.0 : 4.0 * element;
  const double rows = narrow ? s.plane * 3.0 + s.hidden * 3.0 : 0.0;
  return s.plane * (residuals + rope) + rows;
}

double attention_ms(const CardRates& card, const Sizes& s, bool s8) {
  const double tensor =
      gop(s8 ? card.s8_tops : card.bf16_tflops, s.attention) + gop(card.bf16_tflops, s.attention);
  if (uses_wgmma(card)) return tensor / (s8 ? kWgmma.s8_attention : kWgmma.bf16_attention);
  const double shared_rate =
      (s8 ? kSharedS8 : kSharedBf16) * card.multiprocessors * card.clock_ghz / kSharedAt;
  return std::max(tensor, gop(shared_rate, 2.0 * s.attention)) /
         (s8 ? kMma.s8_attention : kMma.bf16_attention);
}

}  // namespace

namespace {

// Without matrix units for bf16 products run at the rate of float32.
double bf16_rate(double bf16_tflops, double int8_tops) {
  return bf16_tflops > 0.0 ? bf16_tflops : int8_tops / 16.0;
}

// Its matrix units by the instructions that this engine has for them: data-centre Blackwell is
// served like Ampere, at an H100's rate a multiprocessor by mma.sync, which is assumed.
CardRates rates_of(const cuda::Card& card) {
  const double bf16 = bf16_rate(card.bf16_tflops, card.int8_tops);
  CardRates rates{.name = card.name,
                  .compute_capability = card.compute_capability,
                  .multiprocessors = card.multiprocessors,
                  .clock_ghz = card.clock_ghz,
                  .s8_tops = card.int8_tops,
                  .bf16_tflops = bf16,
                  .bf16_lt_tflops = bf16,
                  .memory_gb_s = card.memory_gb_s,
                  .memory_gb = card.memory_gb,
                  .host_gb_s = card.host_gb_s,
                  .peer_gb_s = std::max(card.host_gb_s, card.peer_gb_s),
                  .source = card.source};
  if (uses_wgmma(rates)) rates.fp8_tflops = card.fp8_tflops;
  if (card.compute_capability == kDataCentreBlackwell) {
    rates.s8_tops = kMmaS8 * card.multiprocessors / kH100Multiprocessors;
    rates.bf16_tflops = kMmaBf16 * card.multiprocessors / kH100Multiprocessors;
    rates.source = "mma.sync: an H100's rate a multiprocessor, assumed; cuBLASLt: data sheet";
  }
  return rates;
}

}  // namespace

std::span<const CardRates> known_cards() {
  static const std::vector<CardRates> known = [] {
    std::vector<CardRates> rates;
    for (const std::string_view name : kAdvised) rates.push_back(rates_of(*cuda::find_card(name)));
    return rates;
  }();
  return known;
}

CardRates card_rates(const CudaDevice& device) {
  if (const cuda::Card* const card = cuda::find_card(device.name)) return rates_of(*card);
  constexpr double kClock = 1.7;
  const cuda::PeakRates peaks = cuda::peak_rates(device, kClock);
  const double bf16 = bf16_rate(peaks.bf16_tops, peaks.int8_tops);
  CardRates rates{.name = "card",
                  .compute_capability = device.compute_capability,
                  .multiprocessors = device.multiprocessors,
                  .clock_ghz = kClock,
                  .s8_tops = peaks.int8_tops,
                  .bf16_tflops = bf16,
                  .bf16_lt_tflops = bf16,
                  .memory_gb_s = 9.0 * device.multiprocessors,
                  .memory_gb = 1e-9 * static_cast<double>(device.memory_bytes),
                  .host_gb_s = 20.0,
                  .peer_gb_s = 20.0,
                  .source = "its generation"};
  if (uses_wgmma(rates)) rates.fp8_tflops = peaks.fp8_tops;
  return rates;
}

CardRates without_wgmma(CardRates card) {
  if (!uses_wgmma(card)) return card;
  card.compute_capability = 80;
  card.s8_tops = kMmaS8 * card.multiprocessors / kH100Multiprocessors;
  card.bf16_tflops = kMmaBf16 * card.multiprocessors / kH100Multiprocessors;
  // cuBLASLt does not keep to them.
  card.bf16_lt_tflops *= kWgmma.bf16_linears / kMma.bf16_linears;
  return card;
}

std::optional<ModelledPass> modelled_pass(const CardRates& card, const PassShape& shape,
                                          Precision precision) {
  const Sizes s = sizes_of(shape);
  const Shares& shares = uses_wgmma(card) ? kWgmma : kMma;
  double rate = card.bf16_lt_tflops * shares.bf16_linears;
  if (precision == Precision::kInt8) rate = card.s8_tops * shares.s8_linears;
  if (precision == Precision::kFp8) {
    if (card.fp8_tflops == 0.0) return std::nullopt;
    rate = card.fp8_tflops * shares.fp8_linears;
  }
  if (precision == Precision::kFp32) rate /= 16.0;                    // no matrix units
  const double memory_ms = 1e-6 / (kMemoryShare * card.memory_gb_s);  // of a byte
  return ModelledPass{.linears_ms = gop(rate, s.linear_operations),
                      .weights_ms = rewritten_bytes(precision, s.weights) * memory_ms,
                      .attention_ms = attention_ms(card, s, precision == Precision::kInt8) *
                                      (precision == Precision::kFp32 ? 16.0 : 1.0),
                      .passes_ms = passes_bytes(precision, s) * memory_ms};
}

}  // namespace intaglio
