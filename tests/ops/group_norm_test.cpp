// Group norm against float64, at every instruction-set level of this machine and on its GPU.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "ops/cpu/group_norm_implementations.h"
#include "ops/each_implementation.h"

namespace intaglio {
namespace {

struct Picture {
  std::vector<float> floats;
  std::vector<BFloat16> halves;
  DType dtype;

  Picture(DType type, int64_t pixels, int64_t channels, float mean) : dtype(type) {
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < pixels * channels; ++i) {
      floats.push_back(mean * static_cast<float>(i % channels % 3) + normal(random));
      halves.push_back(BFloat16(floats.back()));
    }
  }
  void* data() { return dtype == DType::kBF16 ? static_cast<void*>(halves.data()) : floats.data(); }
  size_t bytes() const { return floats.size() * dtype_size(dtype); }
  float at(size_t i) const {
    return dtype == DType::kBF16 ? static_cast<float>(halves[i]) : floats[i];
  }
};

void check(const GroupNormImplementation& implementation, const Context& base,
           const GroupNormDesc& desc, float mean, bool in_place) {
  SCOPED_TRACE(fmt::format("{} pixels={} channels={} groups={} silu={} {} mean={} in place={}",
                           implementation.name, desc.pixels, desc.channels, desc.groups, desc.silu,
                           dtype_name(desc.dtype), mean, in_place));
  Picture x(desc.dtype, desc.pixels, desc.channels, mean);
  Picture expected(DType::kF32, desc.pixels, desc.channels, 0.0f);
  Picture out(desc.dtype, desc.pixels, desc.channels, 0.0f);
  std::vector<float> weight, bias;
  for (int64_t c = 0; c < desc.channels; ++c) {
    weight.push_back(0.5f + static_cast<float>(c % 7) * 0.25f);
    bias.push_back(static_cast<float>(c % 5) * 0.5f - 1.0f);
  }
  Picture source(DType::kF32, desc.pixels, desc.channels, 0.0f);
  for (size_t i = 0; i < source.floats.size(); ++i) source.floats[i] = x.at(i);
  GroupNormDesc exact = desc;
  exact.dtype = DType::kF32;
  ASSERT_TRUE(ref::group_norm({.threads = 2, .cpu = {}}, exact,
                              {source.data(), weight.data(), bias.data(), expected.data()}));

  auto memory = allocate(base, implementation.scratch_bytes(desc));
  ASSERT_TRUE(memory);
  Arena arena(std::move(*memory));
  Context context = base;
  context.scratch = &arena;
  Picture& y = in_place ? x : out;
  test::Operands on(context);
  void* const to = on.out(y.data(), y.bytes());
  void* const from = in_place ? to : on.in(x.data(), x.bytes());
  const Status status = implementation.run(
      context, desc,
      {from, on.in(weight.data(), weight.size()), on.in(bias.data(), bias.size()), to});
  ASSERT_TRUE(status) << status.error().message;
  on.fetch();
  EXPECT_EQ(arena.used(), 0u);
  EXPECT_EQ(arena.peak(), arena.capacity());
  for (size_t i = 0; i < expected.floats.size(); ++i) {
    // One rounding of x * scale + shift, whose terms grow with the mean, and of exp; bf16 results
    // add half a unit of their last place.
    const float e = expected.floats[i];
    const double tolerance = 2e-6 * (4.0 + static_cast<double>(mean)) +
                             (desc.dtype == DType::kBF16 ? std::abs(e) / 256 : 0);
    ASSERT_NEAR(y.at(i), e, tolerance) << "element " << i;
  }
}

// All implementations that take `desc`, on every device.
void check(const GroupNormDesc& desc, float mean, bool in_place) {
  test::each_implementation(
      group_norm_implementations(), desc,
      [&](const GroupNormImplementation& implementation, const Context& context) {
        check(implementation, context, desc, mean, in_place);
      });
}

TEST(group_norm, matches_the_reference_at_every_level) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const bool silu : {false, true}) {
      const auto of = [&](int64_t pixels, int64_t channels, int64_t groups) {
        return GroupNormDesc{pixels, channels, groups, 1e-6f, silu, dtype};
      };
      check(of(1, 4, 2), 0.0f, false);
      check(of(63, 48, 16), 0.0f, true);
      check(of(65, 13, 1), 1.0f, false);
      check(of(5000, 70, 10), 1.0f, true);
      // What the fast kernels of a GPU take.
      check(of(1, 512, 32), 0.0f, false);
      check(of(1030, 128, 32), 1.0f, true);
      check(of(65, 256, 32), 0.0f, true);
      check(of(130, 384, 32), 1.0f, false);
      if (HasFatalFailure()) return;
    }
  }
}

// A mean of 1000 deviations would leave three digits to a variance computed as E[x^2] - E[x]^2 in
// float32.
TEST(group_norm, a_large_mean_costs_no_variance) {
  check({.pixels = 3000, .channels = 6, .groups = 6, .eps = 1e-6f}, 1000.0f, false);
}

// One group alone.
TEST(group_norm, what_is_not_finite_stays_in_its_group) {
  const GroupNormDesc desc{.pixels = 130, .channels = 12, .groups = 3, .eps = 1e-6f, .silu = true};
  const std::vector<float> ones(12, 1.0f);
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    const Context sizes{.cpu = cpu};
    auto arena = Arena::with_capacity(group_norm_scratch_bytes(sizes, desc));
    ASSERT_TRUE(arena);
    const Context context{.threads = 2, .cpu = cpu, .scratch = &*arena};
    for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
      for (const size_t pixel : {0, 1, 129}) {
        Picture x(DType::kF32, desc.pixels, desc.channels, 1.0f);
        x.floats[pixel * 12 + 5] = bad;
        ASSERT_TRUE(group_norm(context, desc, {x.data(), ones.data(), ones.data(), x.data()}));
        for (size_t i = 0; i < x.floats.size(); ++i)
          ASSERT_EQ(std::isnan(x.floats[i]), i % 12 / 4 == 1)
              << i << " at " << cpu_isa_name(cpu.isa);
      }
    }
  }
}

TEST(group_norm, gives_the_same_bits_for_any_thread_count) {
  const GroupNormDesc desc{.pixels = 4999, .channels = 40, .groups = 8, .eps = 1e-6f, .silu = true};
  Context context{.threads = 1, .cpu = host_cpu_features()};
  auto arena = Arena::with_capacity(group_norm_scratch_bytes(context, desc));
  ASSERT_TRUE(arena);
  context.scratch = &*arena;
  const std::vector<float> ones(40, 1.0f);
  Picture x(DType::kF32, desc.pixels, desc.channels, 1.0f), y1 = x, y3 = x;
  ASSERT_TRUE(group_norm(context, desc, {x.data(), ones.data(), ones.data(), y1.data()}));
  context.threads = 3;
  ASSERT_TRUE(group_norm(context, desc, {x.data(), ones.data(), ones.data(), y3.data()}));
  EXPECT_EQ(y1.floats, y3.floats);
}

TEST(group_norm, every_level_has_its_own) {
  const GroupNormDesc desc{.pixels = 1, .channels = 6, .groups = 3};
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    const GroupNormImplementation* const chosen =
        first_taker(group_norm_implementations(), desc, Context{.cpu = cpu});
    ASSERT_NE(chosen, nullptr);
    const std::string wanted = cpu.isa >= CpuIsa::kAvx512Vnni ? "avx512_group_norm"
                               : cpu.isa >= CpuIsa::kAvx2     ? "avx2_group_norm"
                                                              : "ref_group_norm";
    EXPECT_EQ(chosen->name, wanted);
  }
}

TEST(group_norm, refusals_name_the_field) {
  float x[6] = {};
  const Context host{.cpu = host_cpu_features()};
  const auto problem = [&](const GroupNormDesc& desc, const GroupNormArgs& args) {
    const Status status = group_norm(host, desc, args);
    return status ? std::string() : status.error().message;
  };
  const GroupNormArgs args{x, x, x, x};
  EXPECT_EQ(problem({.pixels = 1, .channels = 6, .groups = 4}, args),
            "group_norm: 1 pixels, 6 channels, 4 groups");
  EXPECT_EQ(problem({.pixels = 1, .channels = 6, .groups = 0}, args),
            "group_norm: 1 pixels, 6 channels, 0 groups");
  EXPECT_EQ(problem({.pixels = 1, .channels = 6, .groups = 2, .dtype = DType::kI8}, args),
            "group_norm: type I8, expected F32 or BF16");
  EXPECT_EQ(problem({.pixels = 1, .channels = 6, .groups = 2, .eps = -1.0f}, args),
            "group_norm: eps -1, expected 0 or more");
  EXPECT_EQ(problem({.pixels = 1, .channels = 6, .groups = 2}, {x, x, nullptr, x}),
            "group_norm: x, weight, bias and y must not be null");
  if (host.cpu.isa > CpuIsa::kRef) {
    EXPECT_EQ(problem({.pixels = 1, .channels = 6, .groups = 2}, args),
              "group_norm: context.scratch is null");
  }
  EXPECT_EQ(group_norm_scratch_bytes(host, {.pixels = 0, .channels = 6, .groups = 2}), 0u);
}

}  // namespace
}  // namespace intaglio
