// Ops of the CPU look at the cancel flag between their tasks: one that is set beforehand leaves the
// result untouched, one that is set by a task lets no further task start.
#include <gtest/gtest.h>

#include <vector>

#include "core/parallel_tasks.h"
#include "ops/attention.h"
#include "ops/conv2d.h"
#include "ops/cpu/attention_driver.h"
#include "ops/cpu/bf16_amx_conv2d.h"
#include "ops/cpu/bf16_amx_gemm.h"
#include "ops/cpu/conv2d_driver.h"
#include "ops/cpu/float_gemm_driver.h"
#include "ops/cpu/s8_amx_gemm.h"
#include "ops/elementwise.h"
#include "ops/float_gemm.h"
#include "ops/group_norm.h"
#include "ops/linear.h"
#include "ops/norm.h"
#include "ops/quantize.h"
#include "ops/s8_gemm.h"

namespace intaglio {
namespace {

constexpr int kThreads = 2;
constexpr std::byte kUntouched{0x5a};

// Tasks count themselves here and ask to stop from the third on, as the thread of the third may
// be put aside before it asks.
std::atomic<bool> stop{false};
std::atomic<int> tasks{0};
void count_task() {
  if (tasks.fetch_add(1) >= 2) stop.store(true);
}

class Cancel : public ::testing::Test {
 protected:
  void SetUp() override {
    stop = false;
    tasks = 0;
    auto arena = Arena::with_capacity(size_t{64} << 20);
    ASSERT_TRUE(arena);
    arena_.emplace(std::move(*arena));
  }
  Context context(CpuIsa isa) {
    Context made{.threads = kThreads, .cpu = limit_cpu_features(host_cpu_features(), isa)};
    made.cancel = &stop;
    made.scratch = &*arena_;
    return made;
  }
  // A driver with many tasks left most of them out.
  void expect_stopped(const Status& status) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
    EXPECT_GE(tasks.load(), 3);
    EXPECT_LE(tasks.load(), 3 + kThreads);
    EXPECT_EQ(arena_->used(), 0u);
  }
  std::optional<Arena> arena_;
};

std::vector<CpuIsa> levels() {
  std::vector<CpuIsa> list;
  for (const CpuIsa isa : {CpuIsa::kRef, CpuIsa::kAvx2, CpuIsa::kAvx512Vnni, CpuIsa::kAmx}) {
    if (isa <= host_cpu_features().isa) list.push_back(isa);
  }
  return list;
}

struct Out {
  std::vector<std::byte> bytes = std::vector<std::byte>(1 << 20, kUntouched);
  void* data() { return bytes.data(); }
  bool untouched() const {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == kUntouched; });
  }
};

TEST_F(Cancel, every_op_returns_at_once_when_asked_beforehand) {
  std::vector<float> x(1 << 18, 1.0f);
  for (const CpuIsa isa : levels()) {
    Context going = context(isa);
    going.cancel = nullptr;
    stop = true;
    const Context stopped = context(isa);
    const auto expect = [&](const char* what, Out& out, const Status& status) {
      SCOPED_TRACE(fmt::format("{} at {}", what, cpu_isa_name(isa)));
      ASSERT_FALSE(status);
      EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
      EXPECT_TRUE(out.untouched());
    };
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const int64_t m : {3, 70}) {
        Out out;
        const FloatGemmDesc desc{.m = m, .n = 90, .k = 64, .in_dtype = dtype};
        const auto gemm = choose_float_gemm(desc, stopped);
        ASSERT_TRUE(gemm);
        expect((*gemm)->name, out,
               (*gemm)->run(stopped, desc, {x.data(), 64, x.data(), nullptr, out.data(), 90}));
      }
      for (const int64_t kernel : {1, 3}) {
        Out out;
        const Conv2dDesc desc{.height = 20,
                              .width = 30,
                              .in_channels = 32,
                              .out_channels = 40,
                              .kernel = kernel,
                              .dtype = dtype};
        const TensorView w{x.data(), DType::kF32, {40, 32, kernel, kernel}};
        const TensorView bias{x.data(), DType::kF32, {40}};
        const auto weights = make_conv2d(going, dtype, w, bias);
        ASSERT_TRUE(weights);
        expect(weights->implementation->name, out,
               conv2d(stopped, desc, *weights, x.data(), nullptr, out.data()));
        if (isa != CpuIsa::kRef) {  // whose weights are a copy
          const auto none = make_conv2d(stopped, dtype, w, bias);
          ASSERT_FALSE(none);
          EXPECT_EQ(none.error().code, ErrorCode::kCancelled);
        }
      }
      {
        Out out;
        const GroupNormDesc desc{
            .pixels = 400, .channels = 32, .groups = 8, .eps = 1e-6f, .dtype = dtype};
        expect("group_norm", out,
               group_norm(stopped, desc, {x.data(), x.data(), x.data(), out.data()}));
      }
      {
        Out out;
        const AttentionDesc desc{
            .tokens = 100, .heads = 2, .kv_heads = 1, .head_dim = 64, .dtype = dtype};
        expect("attention", out,
               attention(stopped, desc,
                         {.q = x.data(),
                          .k = x.data(),
                          .v = x.data(),
                          .ldq = 128,
                          .ldk = 64,
                          .ldv = 64,
                          .out = out.data()}));
      }
    }
    {
      Out out;
      std::vector<int8_t> q(1 << 16, 1), w(1 << 16, 1);
      const S8GemmDesc desc{.m = 70, .n = 96, .k = 128};
      const auto gemm = choose_s8_gemm(desc, stopped);
      ASSERT_TRUE(gemm);
      auto packed = AlignedBuffer::allocate((*gemm)->packed_bytes(desc.n, desc.k));
      ASSERT_TRUE(packed);
      (*gemm)->pack(w.data(), desc.n, desc.k, packed->data());
      expect((*gemm)->name, out,
             (*gemm)->run(stopped, desc,
                          {.a = q.data(),
                           .lda = desc.k,
                           .a_scale_row = x.data(),
                           .w_packed = packed->data(),
                           .w_scale_col = x.data(),
                           .out = out.data(),
                           .ldo = desc.n}));
    }
    {
      Out out;
      float scale = 0.0f;
      expect("quantize_weight_rows", out,
             quantize_weight_rows(stopped, {.values = {x.data(), DType::kF32, {1, 64}}},
                                  static_cast<int8_t*>(out.data()), &scale));
      expect("quantize_rows", out,
             quantize_rows(stopped, {x.data(), DType::kF32, {1, 64}},
                           {DType::kI8, out.data(), 1, 64, &scale}));
      std::vector<float> scores(640, 1.0f);
      expect("softmax_rows", out,
             softmax_rows(stopped,
                          {.scores = scores.data(), .out = out.data(), .rows = 10, .cols = 64}));
      expect("norm", out,
             norm(stopped, {.rows = 10, .cols = 64, .eps = 1e-6f},
                  {.x = x.data(), .out = {DType::kF32, out.data(), 10, 64, nullptr}}));
    }
    for (const LinearKind kind : {LinearKind::kS8, LinearKind::kS8Dequant}) {
      const auto none = make_linear(stopped, kind, GemmEpilogue::kNone,
                                    {.parts = {{.values = {x.data(), DType::kF32, {64, 64}}}}});
      ASSERT_FALSE(none);
      EXPECT_EQ(none.error().code, ErrorCode::kCancelled);
    }
    stop = false;
  }
}

constexpr cpu::FloatGemmKernels kCountingKernels{
    .bf16 = false,
    .block = [](const cpu::FloatGemmBlock&) { count_task(); },
    .pack = [](const void*, bool, int64_t, int64_t, int64_t, void*) {},
    .dot = [](const cpu::FloatDotBlock&) { count_task(); }};

TEST_F(Cancel, products_and_convolutions_stop_between_tasks) {
  const Context base = context(CpuIsa::kRef);
  std::vector<float> x(1 << 20), y(1 << 20);
  const FloatGemmArgs args{x.data(), 64, x.data(), nullptr, y.data(), 6400};
  expect_stopped(cpu::run_float_gemm(kCountingKernels, base, {.m = 100, .n = 6400, .k = 64}, args));
  stop = false;
  tasks = 0;
  expect_stopped(cpu::run_float_gemm(kCountingKernels, base, {.m = 2, .n = 6400, .k = 64}, args));
  stop = false;
  tasks = 0;
  // A block a row of pixels: tasks of one row each.
  const Conv2dDesc desc{.height = 2000, .width = 8, .in_channels = 8, .out_channels = 8};
  Conv2dWeights weights{.packed = {}, .bias = {}};
  Context many = base;
  many.threads = kThreads;
  const Status status =
      cpu::run_conv2d(kCountingKernels, many, desc, weights, x.data(), nullptr, y.data());
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
  EXPECT_LE(tasks.load(), 2000 / 2) << "a task of an eighth of the rows and of each thread at most";
}

TEST_F(Cancel, products_on_tiles_stop_between_tasks) {
  const Context base = context(CpuIsa::kRef);
  std::vector<int8_t> x(1 << 22), y(1 << 22);
  std::vector<float> scale(1 << 14);
  const S8GemmDesc desc{.m = 1024, .n = 2048, .k = 1024};
  expect_stopped(s8_amx_run(
      base, desc,
      {.a = x.data(),
       .lda = desc.k,
       .a_scale_row = scale.data(),
       .w_packed = x.data(),
       .w_scale_col = scale.data(),
       .out = y.data(),
       .ldo = desc.n},
      [](const S8AmxTask&) { count_task(); }, AmxTuning{}));
  stop = false;
  tasks = 0;
  const Bf16AmxKernels counting{.task = [](const Bf16AmxTask&) { count_task(); },
                                .pack = [](const Bf16AmxPackArgs&) {}};
  const FloatGemmDesc product{.m = 1024, .n = 1024, .k = 512, .in_dtype = DType::kBF16};
  expect_stopped(bf16_amx_run(base, product, {x.data(), 512, x.data(), nullptr, y.data(), 1024},
                              counting, {}));
  stop = false;
  tasks = 0;
  const Bf16AmxKernels packing{.task = [](const Bf16AmxTask&) { count_task(); },
                               .pack = [](const Bf16AmxPackArgs&) { count_task(); }};
  expect_stopped(
      bf16_amx_run(base, product, {x.data(), 512, x.data(), nullptr, y.data(), 1024}, packing, {}));
  stop = false;
  tasks = 0;
  const Conv2dDesc conv{.height = 256,
                        .width = 256,
                        .in_channels = 16,
                        .out_channels = 16,
                        .kernel = 3,
                        .dtype = DType::kBF16};
  Conv2dWeights weights{.packed = {}, .bias = {}};
  expect_stopped(run_bf16_amx_conv2d(
      base, conv, weights, {x.data(), nullptr, y.data()},
      {.kernel = [](const Bf16AmxTask&) { count_task(); }, .block_bytes = 64 << 10}));
}

TEST_F(Cancel, attention_stops_between_blocks_of_rows) {
  const AttentionKernel counting{
      .block_rows = 16,
      .block_keys = 64,
      .key_multiple = 64,
      .depth_multiple = 32,
      .col_multiple = 32,
      .element_bytes = 4,
      .pack_k = [](const AttentionGeometry&, const AttentionPackArgs&) {},
      .pack_v = [](const AttentionGeometry&, const AttentionPackArgs&) {},
      .block = [](const AttentionGeometry&, const AttentionBlockArgs&) { count_task(); }};
  std::vector<float> x(1 << 18), out(1 << 18);
  const AttentionDesc desc{.tokens = 1000, .heads = 2, .kv_heads = 2, .head_dim = 64};
  expect_stopped(run_attention_kernel(counting, context(CpuIsa::kRef), desc,
                                      {.q = x.data(),
                                       .k = x.data(),
                                       .v = x.data(),
                                       .ldq = 128,
                                       .ldk = 128,
                                       .ldv = 128,
                                       .out = out.data()}));
}

}  // namespace
}  // namespace intaglio
