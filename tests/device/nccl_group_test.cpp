// The calls that a group of NCCL makes, heard by a stand-in that copies by device links.
#include "core/cuda/nccl_group.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <vector>

#include "core/memory.h"
#include "device/double/device_double.h"
#include "pipeline/device.h"

namespace intaglio::cuda {
namespace {

using test::DeviceDouble;
using test::SideOrder;

// What the library would hold. A communicator is the rank's place in it.
struct StandIn {
  std::vector<const Context*> contexts;
  std::unique_ptr<CollectiveGroup> linked;
  std::vector<int> devices;
  std::atomic<int> made = 0, aborted = 0, destroyed = 0;
};
StandIn* stand_in = nullptr;

thread_local int depth = 0;
thread_local size_t calling = 0;
thread_local std::vector<Collective::Sent> sent;
thread_local std::vector<Collective::Received> received;

constexpr int kGood = 0, kBad = 1;

NcclLibrary::Communicator communicator_of(size_t rank) {
  return reinterpret_cast<NcclLibrary::Communicator>(rank + 1);
}
size_t rank_of(NcclLibrary::Communicator communicator) {
  return reinterpret_cast<size_t>(communicator) - 1;
}

NcclLibrary library_of() {
  return {.error_string = [](int) { return "broken"; },
          .init_all =
              [](NcclLibrary::Communicator* communicators, int count, const int* devices) {
                stand_in->devices.assign(devices, devices + count);
                for (size_t i = 0; i < static_cast<size_t>(count); ++i)
                  communicators[i] = communicator_of(i);
                ++stand_in->made;
                return stand_in->linked->restart() ? kGood : kBad;
              },
          .destroy =
              [](NcclLibrary::Communicator) {
                ++stand_in->destroyed;
                return kGood;
              },
          .abort =
              [](NcclLibrary::Communicator) {
                ++stand_in->aborted;
                stand_in->linked->abort();
                return kGood;
              },
          .group_start =
              [] {
                ++depth;
                sent.clear();
                received.clear();
                return kGood;
              },
          .group_end =
              [] {
                --depth;
                const Context& context = *stand_in->contexts[calling];
                const auto done = stand_in->linked->rank(static_cast<int>(calling))
                                      .all_to_all(context, sent, received);
                return done ? kGood : kBad;
              },
          .send =
              [](const void* data, size_t count, int type, int to,
                 NcclLibrary::Communicator communicator, cudaStream_t stream) {
                calling = rank_of(communicator);
                if (type != 0 || depth != 1 || stream != stand_in->contexts[calling]->stream)
                  return kBad;
                sent.push_back({to, data, count});
                return kGood;
              },
          .receive =
              [](void* data, size_t count, int type, int from,
                 NcclLibrary::Communicator communicator, cudaStream_t stream) {
                calling = rank_of(communicator);
                if (type != 0 || depth != 1 || stream != stand_in->contexts[calling]->stream)
                  return kBad;
                received.push_back({from, data, count});
                return kGood;
              }};
}

class NcclGroup : public testing::Test {
 protected:
  void SetUp() override {
    DeviceDouble::instance().restart();
    cards_[0] = *open_device(0, 1);
    cards_[1] = *open_device(1, 1);
    for (DeviceContext& card : cards_) held_.contexts.push_back(&card.context);
    held_.linked = *make_linked_group(held_.contexts);
    stand_in = &held_;
    ASSERT_TRUE(make_current(cards_[0].context));
  }

  // The two ranks' `work`, each in a thread.
  template <typename Work>
  std::vector<Status> run(CollectiveGroup& group, Work&& work) {
    std::vector<std::future<Status>> ranks;
    for (int i = 0; i < 2; ++i)
      ranks.push_back(std::async(std::launch::async, [&, i]() -> Status {
        const Context& context = cards_[i].context;
        INTAGLIO_TRY(make_current(context));
        return work(context, group.rank(i));
      }));
    std::vector<Status> done;
    for (auto& rank : ranks) done.push_back(rank.get());
    return done;
  }

  DeviceContext cards_[2];
  StandIn held_;
  const NcclLibrary library_ = library_of();
};

// A piece for the other rank, one of no bytes, one of its own.
Status exchange(const Context& context, Collective& rank, float& wrong) {
  constexpr size_t kValues = 1000, kBytes = kValues * sizeof(float);
  const int own = rank.rank(), other = 1 - own;
  const std::vector<float> values(kValues, static_cast<float>(1 + own));
  INTAGLIO_ASSIGN(const AlignedBuffer out, upload(context, values));
  INTAGLIO_ASSIGN(const AlignedBuffer in, allocate(context, 2 * kBytes));
  float* const second = in.as<float>() + kValues;
  const Collective::Sent pieces[] = {
      {other, out.data(), 0}, {own, out.data(), kBytes}, {other, out.data(), kBytes}};
  const Collective::Received rooms[] = {
      {other, in.data(), 0}, {other, in.data(), kBytes}, {own, second, kBytes}};
  INTAGLIO_TRY(rank.all_to_all(context, pieces, rooms));
  std::vector<float> got(2 * kValues);
  INTAGLIO_TRY(copy_out(context, got.data(), in.data(), 2 * kBytes));
  for (size_t i = 0; i < got.size(); ++i)
    if (got[i] != static_cast<float>(1 + (i < kValues ? other : own))) ++wrong;
  return {};
}

TEST_F(NcclGroup, PiecesGoWhereTheyAreSent) {
  const auto group = *make_nccl_group(held_.contexts, library_);
  EXPECT_EQ(held_.devices, (std::vector<int>{0, 1}));
  ASSERT_EQ(group->size(), 2);
  float wrong[2] = {};
  for (int call = 0; call < 3; ++call)
    for (const Status& done : run(*group, [&](const Context&context, Collective&rank) {
           return exchange(context, rank, wrong[rank.rank()]);
         }))
      ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(wrong[0] + wrong[1], 0.0f);
}

TEST_F(NcclGroup, ARankThatFailsEndsTheOtherAndItStartsAnew) {
  const auto begun = std::chrono::steady_clock::now();
  {
    const auto group = *make_nccl_group(held_.contexts, library_);
    float wrong[2] = {};
    auto done = run(*group, [&](const Context& context, Collective& rank) -> Status {
      if (rank.rank() == 0) return exchange(context, rank, wrong[0]);
      group->abort();
      return make_error(ErrorCode::kDevice, "broken");
    });
    ASSERT_FALSE(done[0]);
    EXPECT_EQ(done[0].error().code, ErrorCode::kCancelled);
    EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(5));
    EXPECT_EQ(held_.aborted, 2);
    ASSERT_TRUE(group->restart());
    EXPECT_EQ(held_.made, 2);
    done = run(*group, [&](const Context& context, Collective& rank) {
      return exchange(context, rank, wrong[rank.rank()]);
    });
    for (const Status& status : done) EXPECT_TRUE(status);
    ASSERT_TRUE(group->restart());  // nothing to do
    EXPECT_EQ(held_.made, 2);
  }
  EXPECT_EQ(held_.destroyed, 2);
}

TEST_F(NcclGroup, WhatIsNotThereIsTold) {
  const NcclLibrary missing{.problem = "NCCL was not found: libnccl.so.2: cannot open"};
  const auto refused = make_nccl_group(held_.contexts, missing);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(refused.error().message, "NCCL was not found: libnccl.so.2: cannot open");
  const DeviceContext cpu = *open_device(std::nullopt, 1);
  const Context* const mixed[] = {held_.contexts[0], &cpu.context};
  EXPECT_FALSE(make_nccl_group(mixed, library_));
}

}  // namespace
}  // namespace intaglio::cuda
