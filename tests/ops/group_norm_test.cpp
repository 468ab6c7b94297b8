// Group norm against float64, at every instruction-set level of this machine.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "ops/conv2d.h"
#include "ops/ref/conv2d.h"
#include "support/tested_cpus.h"

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
  float at(size_t i) const {
    return dtype == DType::kBF16 ? static_cast<float>(halves[i]) : floats[i];
  }
};

void check(const CpuFeatures& cpu, const GroupNormDesc& desc, float mean, bool in_place) {
  SCOPED_TRACE(fmt::format("{} pixels={} channels={} groups={} silu={} {} mean={} in place={}",
                           cpu_isa_name(cpu.isa), desc.pixels, desc.channels, desc.groups,
                           desc.silu, dtype_name(desc.dtype), mean, in_place));
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
  ASSERT_TRUE(ref::group_norm({.threads = 2, .cpu = {}}, exact, source.data(), weight.data(),
                              bias.data(), expected.data()));

  auto arena = Arena::with_capacity(group_norm_scratch_bytes({}, desc));
  ASSERT_TRUE(arena);
  const Context context{.threads = 2, .cpu = cpu, .scratch = &*arena};
  Picture& y = in_place ? x : out;
  const Status status = group_norm(context, desc, x.data(), weight.data(), bias.data(), y.data());
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(arena->used(), 0u);
  for (size_t i = 0; i < expected.floats.size(); ++i) {
    // One rounding of x * scale + shift, whose terms grow with the mean, and of exp; bf16 results
    // add half a unit of their last place.
    const float e = expected.floats[i];
    const double tolerance = 2e-6 * (4.0 + static_cast<double>(mean)) +
                             (desc.dtype == DType::kBF16 ? std::abs(e) / 256 : 0);
    ASSERT_NEAR(y.at(i), e, tolerance) << "element " << i;
  }
}

TEST(group_norm, matches_the_reference_at_every_level) {
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const bool silu : {false, true}) {
        check(cpu,
              {.pixels = 1, .channels = 4, .groups = 2, .eps = 1e-6f, .silu = silu, .dtype = dtype},
              0.0f, false);
        check(cpu,
              {.pixels = 63,
               .channels = 48,
               .groups = 16,
               .eps = 1e-6f,
               .silu = silu,
               .dtype = dtype},
              0.0f, true);
        check(
            cpu,
            {.pixels = 65, .channels = 13, .groups = 1, .eps = 1e-6f, .silu = silu, .dtype = dtype},
            1.0f, false);
        check(cpu,
              {.pixels = 5000,
               .channels = 70,
               .groups = 10,
               .eps = 1e-6f,
               .silu = silu,
               .dtype = dtype},
              1.0f, true);
        if (HasFatalFailure()) return;
      }
    }
  }
}

// A mean of 1000 deviations would leave three digits to a variance computed as E[x^2] - E[x]^2 in
// float32.
TEST(group_norm, a_large_mean_costs_no_variance) {
  for (const CpuFeatures& cpu : test::tested_cpus())
    check(cpu, {.pixels = 3000, .channels = 6, .groups = 6, .eps = 1e-6f}, 1000.0f, false);
}

TEST(group_norm, gives_the_same_bits_for_any_thread_count) {
  const GroupNormDesc desc{.pixels = 4999, .channels = 40, .groups = 8, .eps = 1e-6f, .silu = true};
  auto arena = Arena::with_capacity(group_norm_scratch_bytes({}, desc));
  ASSERT_TRUE(arena);
  const std::vector<float> ones(40, 1.0f);
  Picture x(DType::kF32, desc.pixels, desc.channels, 1.0f), y1 = x, y3 = x;
  ASSERT_TRUE(group_norm({.threads = 1, .cpu = host_cpu_features(), .scratch = &*arena}, desc,
                         x.data(), ones.data(), ones.data(), y1.data()));
  ASSERT_TRUE(group_norm({.threads = 3, .cpu = host_cpu_features(), .scratch = &*arena}, desc,
                         x.data(), ones.data(), ones.data(), y3.data()));
  EXPECT_EQ(y1.floats, y3.floats);
}

TEST(group_norm, refuses_groups_that_do_not_divide) {
  float x[6] = {}, w[6] = {};
  EXPECT_FALSE(group_norm({.cpu = host_cpu_features()}, {.pixels = 1, .channels = 6, .groups = 4},
                          x, w, w, x));
  EXPECT_FALSE(group_norm({.cpu = host_cpu_features()}, {.pixels = 1, .channels = 6, .groups = 0},
                          x, w, w, x));
}

}  // namespace
}  // namespace intaglio
