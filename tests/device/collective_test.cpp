// Made-up cards that give each other bytes: in the order of their streams, whatever these do first.
#include "core/collective.h"

#include <gtest/gtest.h>

#include <future>
#include <vector>

#include "core/memory.h"
#include "device/double/device_double.h"
#include "pipeline/device.h"

namespace intaglio {
namespace {

using test::DeviceDouble;
using test::SideOrder;

constexpr size_t kValues = 3000000;  // more than goes at once by way of the host
constexpr size_t kBytes = kValues * sizeof(float);

// Three times over, each rank fills what it sends anew and sends it to the other, without a wait of
// its own between: a piece that were written too early, or read too late, would be another call's.
Status give(const Context& context, Collective& rank, std::vector<float>& last) {
  INTAGLIO_TRY(make_current(context));
  const int other = 1 - rank.rank();
  INTAGLIO_ASSIGN(const AlignedBuffer out, allocate(context, kBytes));
  INTAGLIO_ASSIGN(const AlignedBuffer in, allocate(context, 3 * kBytes));
  for (int call = 0; call < 3; ++call) {
    const std::vector<float> values(kValues, static_cast<float>(10 * rank.rank() + call));
    INTAGLIO_TRY(copy_in(context, out.data(), values.data(), kBytes));
    const Collective::Sent sent[] = {{other, out.data(), kBytes}};
    const Collective::Received received[] = {
        {other, in.as<float>() + static_cast<size_t>(call) * kValues, kBytes}};
    INTAGLIO_TRY(rank.all_to_all(context, sent, received));
  }
  last.resize(3 * kValues);
  return copy_out(context, last.data(), in.data(), 3 * kBytes);
}

TEST(DeviceCollective, PiecesAreThoseOfTheirCall) {
  for (const SideOrder order : {SideOrder::kSideLast, SideOrder::kSideFirst}) {
    for (const bool peers : {true, false}) {
      DeviceDouble::instance().restart(order);
      DeviceDouble::instance().set_peers(peers);
      {
        const DeviceContext cards[] = {*open_device(0, 1), *open_device(1, 1)};
        const Context* const contexts[] = {&cards[0].context, &cards[1].context};
        const auto group = *make_linked_group(contexts);
        std::vector<float> got[2];
        std::future<Status> ranks[2];
        for (int i = 0; i < 2; ++i)
          ranks[i] = std::async(std::launch::async,
                                [&, i] { return give(cards[i].context, group->rank(i), got[i]); });
        for (int i = 0; i < 2; ++i) {
          const Status done = ranks[i].get();
          ASSERT_TRUE(done) << done.error().message;
          for (int call = 0; call < 3; ++call) {
            const auto first = got[i].begin() + call * static_cast<int64_t>(kValues);
            const auto expected = static_cast<float>(10 * (1 - i) + call);
            EXPECT_EQ(std::count(first, first + static_cast<int64_t>(kValues), expected),
                      static_cast<int64_t>(kValues));
          }
        }
        ASSERT_TRUE(make_current(cards[0].context));
      }
      EXPECT_EQ(DeviceDouble::instance().objects(), 0);
      EXPECT_EQ(DeviceDouble::instance().pinned().now, 0u);
    }
  }
}

TEST(DeviceCollective, NeedsOneKindOfDevice) {
  const DeviceContext gpu = *open_device(0, 1), cpu = *open_device(std::nullopt, 1);
  const Context* const contexts[] = {&gpu.context, &cpu.context};
  EXPECT_FALSE(make_linked_group(contexts));
}

}  // namespace
}  // namespace intaglio
