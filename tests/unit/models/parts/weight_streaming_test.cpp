#include "models/parts/weight_streaming.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/memory.h"
#include "ops/quantize.h"

namespace intaglio {
namespace {

std::vector<size_t> places(const std::vector<bool>& streams) {
  std::vector<size_t> list;
  for (size_t i = 0; i < streams.size(); ++i)
    if (streams[i]) list.push_back(i);
  return list;
}

TEST(WeightStreaming, StreamedLayersAreSpreadEvenly) {
  EXPECT_EQ(places(spread_streamed(34, 10)),
            (std::vector<size_t>{2, 5, 9, 12, 16, 19, 22, 26, 29, 33}));
  EXPECT_EQ(places(spread_streamed(34, 1)), std::vector<size_t>{33});
  EXPECT_TRUE(places(spread_streamed(34, 0)).empty());
  EXPECT_TRUE(places(spread_streamed(0, 3)).empty());
  for (size_t layers = 1; layers <= 40; ++layers) {
    for (size_t streamed = 1; streamed <= layers + 2; ++streamed) {
      const std::vector<size_t> list = places(spread_streamed(layers, streamed));
      ASSERT_EQ(list.size(), std::min(streamed, layers));
      size_t least = layers, most = 0, last = 0;
      for (size_t i = 0; i < list.size(); ++i) {
        const size_t group = i == 0 ? list[0] + 1 : list[i] - last;
        least = std::min(least, group);
        most = std::max(most, group);
        last = list[i];
      }
      EXPECT_LE(most, least + 1) << streamed << " of " << layers;
    }
  }
}

TEST(WeightStreaming, TheFewestLayersStream) {
  const std::vector<uint64_t> layers(34, 100);
  EXPECT_EQ(choose_streamed(layers, 0).count, 0u);
  EXPECT_EQ(choose_streamed(layers, 3400).count, 0u);
  const StreamingChoice one = choose_streamed(layers, 3399);
  EXPECT_EQ(one.count, 1u);
  EXPECT_EQ(one.resident_bytes, 3300u);
  EXPECT_EQ(one.streamed_bytes, 100u);
  EXPECT_EQ(one.slot_bytes, 100u);
  EXPECT_EQ(choose_streamed(layers, 2400).count, 10u);
  EXPECT_EQ(choose_streamed(layers, 99).count, 34u);
  EXPECT_EQ(choose_streamed(layers, 1).resident_bytes, 0u);
  EXPECT_EQ(choose_streamed({}, 1).count, 0u);
}

TEST(WeightStreaming, LayersMayDifferInSize) {
  std::vector<uint64_t> layers(8, 100);
  layers[7] = 250;  // the first to stream
  const StreamingChoice choice = choose_streamed(layers, 700);
  EXPECT_EQ(choice.count, 1u);
  EXPECT_EQ(choice.slot_bytes, 250u);
  EXPECT_EQ(choice.resident_bytes + choice.streamed_bytes, 950u);
}

TEST(WeightStreaming, WeightsTakeWholeGranules) {
  EXPECT_EQ(device_bytes(0), 0u);
  EXPECT_EQ(device_bytes(1), 512u);
  EXPECT_EQ(device_bytes((1 << 20) + 1), 2u << 20);
  const auto bytes = [](LinearKind kind) {
    return packed_bytes({.kind = kind, .n = 4608, .k = 4096});
  };
  EXPECT_EQ(bytes(LinearKind::kS8), 18u << 20);
  EXPECT_EQ(bytes(LinearKind::kS8Dequant), 18u << 20);
  EXPECT_EQ(bytes(LinearKind::kBF16), 36u << 20);
  EXPECT_EQ(bytes(LinearKind::kF32), 72u << 20);
  EXPECT_EQ(scale_bytes({.kind = LinearKind::kBF16, .n = 4608, .k = 4096}), 0u);
  EXPECT_EQ(scale_bytes({.kind = LinearKind::kS8, .n = 4608, .k = 4096}), 4608u * 4);
}

// Copies at once and notes what was asked for. A mark must be set before it is waited for, in the
// same pass.
class FakeQueue : public CopyQueue {
 public:
  struct State {
    std::string log;
    std::vector<bool> full, free;
    bool forked = false;
  };
  FakeQueue(std::shared_ptr<State> state, size_t slots) : state_(std::move(state)) {
    state_->full.assign(slots, false);
    state_->free.assign(slots, false);
  }

  Status fork(const Context&) override {
    EXPECT_FALSE(state_->forked);
    state_->forked = true;
    std::fill(state_->full.begin(), state_->full.end(), false);
    std::fill(state_->free.begin(), state_->free.end(), false);
    return note("fork");
  }
  Status join(const Context&) override {
    EXPECT_TRUE(state_->forked);
    state_->forked = false;
    return note("join");
  }
  Status copy(void* target, const void* host, size_t bytes) override {
    EXPECT_TRUE(state_->forked);
    std::memcpy(target, host, bytes);
    return note("copy");
  }
  Status mark_full(size_t slot) override {
    state_->full[slot] = true;
    return note("full" + std::to_string(slot));
  }
  Status wait_full(const Context&, size_t slot) override {
    EXPECT_TRUE(state_->full[slot]);
    return note("use" + std::to_string(slot));
  }
  Status mark_free(const Context&, size_t slot) override {
    state_->free[slot] = true;
    return note("free" + std::to_string(slot));
  }
  Status wait_free(size_t slot) override {
    EXPECT_TRUE(state_->free[slot]);
    return note("after" + std::to_string(slot));
  }

 private:
  Status note(const std::string& what) {
    state_->log += state_->log.empty() ? what : " " + what;
    return {};
  }
  std::shared_ptr<State> state_;
};

WeightStreamer fake_streamer(std::shared_ptr<FakeQueue::State> state, size_t slots, size_t bytes) {
  std::vector<AlignedBuffer> memory;
  for (size_t i = 0; i < slots; ++i) memory.push_back(*AlignedBuffer::allocate(bytes));
  return WeightStreamer(std::make_unique<FakeQueue>(std::move(state), slots), std::move(memory));
}

// Layers of one part each.
std::vector<StreamedLayer> layers_of(size_t count, size_t slots, size_t bytes) {
  std::vector<StreamedLayer> layers(count);
  for (size_t i = 0; i < count; ++i) {
    layers[i].slot = i % slots;
    layers[i].parts.push_back({*AlignedBuffer::allocate(bytes), 0});
    std::memset(layers[i].parts[0].host.data(), static_cast<int>(i), bytes);
  }
  return layers;
}

TEST(WeightStreaming, ASlotIsFilledWhenItsReaderIsDone) {
  const auto state = std::make_shared<FakeQueue::State>();
  WeightStreamer streamer = fake_streamer(state, 2, 64);
  const std::vector<StreamedLayer> layers = layers_of(4, 2, 64);
  const Context context;
  for (int pass = 0; pass < 2; ++pass) {
    state->log.clear();
    StreamPass stream(context, &streamer, layers);
    ASSERT_TRUE(stream.begin());
    for (size_t i = 0; i < layers.size(); ++i) {
      ASSERT_TRUE(stream.acquire());
      state->log += " [" + std::to_string(i) + "]";
      ASSERT_TRUE(stream.release());
    }
    ASSERT_TRUE(stream.end());
    EXPECT_EQ(state->log,
              "fork copy full0 copy full1"
              " use0 [0] free0 after0 copy full0"
              " use1 [1] free1 after1 copy full1"
              " use0 [2] use1 [3] join");
  }
}

TEST(WeightStreaming, APassThatStopsEarlyJoinsItsCopies) {
  const auto state = std::make_shared<FakeQueue::State>();
  WeightStreamer streamer = fake_streamer(state, 3, 64);
  const std::vector<StreamedLayer> layers = layers_of(2, 3, 64);  // fewer than slots
  const Context context;
  {
    StreamPass stream(context, &streamer, layers);
    ASSERT_TRUE(stream.begin());
    ASSERT_TRUE(stream.acquire());
  }
  EXPECT_EQ(state->log, "fork copy full0 copy full1 use0 join");
}

TEST(WeightStreaming, NoLayersNoCopies) {
  const Context context;
  StreamPass stream(context, nullptr, {});
  EXPECT_TRUE(stream.begin());
  EXPECT_TRUE(stream.end());
}

Context cpu_context(Arena& arena) {
  Context context;
  context.cpu = *selected_cpu_features();
  context.scratch = &arena;
  return context;
}

// Linears of every kind give bit for bit the same from a slot, also after another layer has been
// there.
TEST(WeightStreaming, ALinearReadsItsSlot) {
  constexpr int64_t kRows = 5, kN = 32, kK = 64;
  Arena arena = *Arena::with_capacity(16 << 20);
  const Context context = cpu_context(arena);
  std::vector<float> values(static_cast<size_t>(kN * kK)), x(static_cast<size_t>(kRows * kK));
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::cos(static_cast<float>(i));
  const TensorView part{values.data(), DType::kF32, Shape{kN, kK}};
  for (const LinearKind kind : {LinearKind::kS8, LinearKind::kS8Dequant}) {
    LinearWeights weights =
        *make_linear(context, kind, GemmEpilogue::kNone, {.parts = float_parts({{part}})});
    std::vector<int8_t> q(x.size());
    std::vector<float> scale(static_cast<size_t>(kRows));
    const Activation input{DType::kI8, q.data(), kRows, kK, scale.data()};
    ASSERT_TRUE(quantize_rows(context, {x.data(), DType::kF32, Shape{kRows, kK}}, input));
    std::vector<float> resident(static_cast<size_t>(kRows * kN)), streamed(resident);
    ASSERT_TRUE(linear(context, weights, input, resident.data(), DType::kF32, kN));

    const auto state = std::make_shared<FakeQueue::State>();
    const size_t bytes = align_up(weights.packed.size(), kStreamedAlignment);
    WeightStreamer streamer = fake_streamer(state, 2, bytes);
    std::vector<StreamedLayer> layers = layers_of(3, 2, bytes);
    layers[1].parts.clear();
    ASSERT_TRUE(streamer.take(context, weights, layers[1]));
    EXPECT_EQ(weights.packed.size(), 0u);
    EXPECT_EQ(layers[1].slot_bytes(), bytes);
    for (int pass = 0; pass < 2; ++pass) {
      StreamPass stream(context, &streamer, layers);
      ASSERT_TRUE(stream.begin());
      ASSERT_TRUE(stream.acquire());
      ASSERT_TRUE(stream.release());
      ASSERT_TRUE(stream.acquire());
      std::fill(streamed.begin(), streamed.end(), 0.0f);
      ASSERT_TRUE(linear(context, weights, input, streamed.data(), DType::kF32, kN));
      EXPECT_EQ(streamed, resident) << linear_kind_name(kind);
      ASSERT_TRUE(stream.release());
      ASSERT_TRUE(stream.end());
    }
  }
}

TEST(WeightStreaming, ASlotThatIsTooSmallIsRefused) {
  Arena arena;
  const Context context = cpu_context(arena);
  const auto state = std::make_shared<FakeQueue::State>();
  const WeightStreamer streamer = fake_streamer(state, 2, 1024);
  StreamedLayer layer;
  LinearWeights fits, more;
  fits.packed = *AlignedBuffer::allocate(1000);
  more.packed = *AlignedBuffer::allocate(8);
  ASSERT_TRUE(streamer.take(context, fits, layer));
  const Status refused = streamer.take(context, more, layer);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kOutOfMemory);
  EXPECT_NE(refused.error().message.find("1032 bytes"), std::string::npos)
      << refused.error().message;
}

TEST(WeightStreaming, TheCpuHasNoQueue) {
  const Context context;
  const auto streamer = WeightStreamer::make(context, 2, 64);
  ASSERT_FALSE(streamer);
  EXPECT_EQ(streamer.error().code, ErrorCode::kUnsupported);
  EXPECT_FALSE(WeightStreamer::make(context, 1, 64));
}

}  // namespace
}  // namespace intaglio
