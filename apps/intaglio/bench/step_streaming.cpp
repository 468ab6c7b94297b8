#include "bench/step_streaming.h"

#include <chrono>
#include <cstring>
#include <numeric>
#include <vector>

#include "bench/spread.h"
#include "core/copy_queue.h"
#include "core/memory.h"

namespace intaglio::cli {

Expected<double> host_copy_rate(const Context& context) {
  using Clock = std::chrono::steady_clock;
  constexpr size_t kBytes = size_t{256} << 20;
  constexpr int kCopies = 4, kRounds = 7;
  INTAGLIO_ASSIGN(const AlignedBuffer host, allocate_pinned(context, kBytes));
  INTAGLIO_ASSIGN(const AlignedBuffer target, allocate(context, kBytes));
  std::memset(host.data(), 1, kBytes);
  std::vector<double> times_ms;
  for (int round = 0; round <= kRounds; ++round) {
    const auto start = Clock::now();
    for (int i = 0; i < kCopies; ++i)
      INTAGLIO_TRY(copy_in(context, target.data(), host.data(), kBytes));
    INTAGLIO_TRY(synchronize(context));
    const double ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    if (round > 0) times_ms.push_back(ms);  // the first warms up
  }
  return static_cast<double>(kCopies * kBytes) / (spread_of(times_ms).median * 1e-3);
}

StreamedPass streamed_pass(const Profile& profile, uint64_t bytes, double bytes_per_second) {
  const double all = std::accumulate(profile.time_ms.begin(), profile.time_ms.end(), 0.0);
  return {.compute_ms = all - profile.time_ms[static_cast<size_t>(ProfilePart::kOther)],
          .copy_ms = static_cast<double>(bytes) / bytes_per_second * 1e3};
}

}  // namespace intaglio::cli
