#include "advice/measure_link.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "core/memory.h"
#include "pipeline/device.h"

namespace intaglio {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kRoundMs = 5.0;
constexpr int kMostExchanges = 1000;  // of a round

double since_ms(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// What rank `from` sends to rank `to`.
std::byte mark(int from, int to) { return static_cast<std::byte>(16 * from + to + 1); }

// A rank's pieces, one for each other rank.
class Exchange {
 public:
  Exchange(const Context& context, Collective& collective, size_t bytes)
      : context_(context), collective_(collective), bytes_(bytes) {}

  Status allocate_pieces() {
    const auto others = static_cast<size_t>(collective_.size() - 1);
    INTAGLIO_ASSIGN(out_, allocate(context_, others * bytes_));
    INTAGLIO_ASSIGN(in_, allocate(context_, others * bytes_));
    size_t at = 0;
    for (int other = 0; other < collective_.size(); ++other) {
      if (other == collective_.rank()) continue;
      const std::vector<std::byte> piece(bytes_, mark(collective_.rank(), other));
      INTAGLIO_TRY(copy_in(context_, out_.as<std::byte>() + at, piece.data(), bytes_));
      sent_.push_back({.to = other, .data = out_.as<std::byte>() + at, .bytes = bytes_});
      received_.push_back({.from = other, .data = in_.as<std::byte>() + at, .bytes = bytes_});
      at += bytes_;
    }
    return synchronize(context_);
  }

  Expected<double> run(int exchanges) {
    INTAGLIO_TRY(synchronize(context_));
    const Clock::time_point start = Clock::now();
    for (int i = 0; i < exchanges; ++i)
      INTAGLIO_TRY(collective_.all_to_all(context_, sent_, received_));
    INTAGLIO_TRY(synchronize(context_));
    return since_ms(start) / exchanges;
  }

  Status check() const {
    std::vector<std::byte> piece(bytes_);
    for (const Collective::Received& received : received_) {
      INTAGLIO_TRY(copy_out(context_, piece.data(), received.data, bytes_));
      const std::byte expected = mark(received.from, collective_.rank());
      if (std::any_of(piece.begin(), piece.end(), [&](std::byte b) { return b != expected; }))
        return make_error(ErrorCode::kInternal,
                          "an exchange of {} bytes: rank {} did not get what rank {} sent", bytes_,
                          collective_.rank(), received.from);
    }
    return {};
  }

 private:
  const Context& context_;
  Collective& collective_;
  size_t bytes_;
  AlignedBuffer out_, in_;
  std::vector<Collective::Sent> sent_;
  std::vector<Collective::Received> received_;
};

// Times of a rank, a value a round. All ranks make as many exchanges.
Status run_rank(const Context& context, Collective& collective, size_t bytes, int exchanges,
                std::span<double> ms) {
  INTAGLIO_TRY(make_current(context));
  Exchange exchange(context, collective, bytes);
  INTAGLIO_TRY(exchange.allocate_pieces());
  INTAGLIO_TRY(exchange.run(1));
  INTAGLIO_TRY(exchange.check());
  for (double& round : ms) {
    INTAGLIO_ASSIGN(round, exchange.run(exchanges));
  }
  return {};
}

// Of each round the time of the rank that was last.
Expected<std::vector<double>> time_ranks(std::span<const Context* const> contexts,
                                         CollectiveGroup& group, size_t bytes, int exchanges,
                                         int rounds) {
  std::vector<std::vector<double>> ms(contexts.size(),
                                      std::vector<double>(static_cast<size_t>(rounds)));
  std::vector<Status> done(contexts.size());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < contexts.size(); ++r)
    threads.emplace_back([&, r] {
      done[r] = run_rank(*contexts[r], group.rank(static_cast<int>(r)), bytes, exchanges, ms[r]);
      if (!done[r]) group.abort();
    });
  for (std::thread& thread : threads) thread.join();
  // What ended the others is told, not that they were ended.
  const auto cause = std::find_if(done.begin(), done.end(), [](const Status& status) {
    return !status && status.error().code != ErrorCode::kCancelled;
  });
  if (cause != done.end()) return tl::unexpected<Error>(cause->error());
  for (const Status& status : done) INTAGLIO_TRY(status);
  std::vector<double> last = ms.front();
  for (const std::vector<double>& rank : ms)
    std::transform(rank.begin(), rank.end(), last.begin(), last.begin(),
                   [](double a, double b) { return std::max(a, b); });
  return last;
}

}  // namespace

double TimedExchange::gb_s(double exchange_ms) const {
  return 1e-6 * static_cast<double>(bytes) * (ranks - 1) / exchange_ms;
}

Expected<TimedExchange> time_exchange(std::span<const Context* const> contexts,
                                      CollectiveGroup& group, size_t bytes, int rounds) {
  INTAGLIO_ASSIGN(const std::vector<double> once, time_ranks(contexts, group, bytes, 1, 1));
  const double exchanges = std::ceil(kRoundMs / std::max(once.front(), 1e-4));
  TimedExchange timed{.bytes = bytes, .ranks = group.size(), .ms = {}};
  INTAGLIO_ASSIGN(
      timed.ms, time_ranks(contexts, group, bytes,
                           static_cast<int>(std::min<double>(exchanges, kMostExchanges)), rounds));
  return timed;
}

}  // namespace intaglio
