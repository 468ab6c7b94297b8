// The mma.sync int8 GEMM kernels, run on the CPU (emulation/lanes.h) against the reference: every
// config that is compiled for cards, ragged sizes, all outputs, split k, several tiles to a block,
// copies that land late and at once, nothing written beside the output.
#include <gtest/gtest.h>

#include <cstdlib>

#include "dynamic_shared.h"
#include "lanes.h"
// Kernels after the emulation, which defines what they are written in.
#include "ops/cuda/kernels/s8_reduce.cuh"
#include "ops/cuda/kernels/sm75_s8_gemm.cuh"
#include "ops/cuda/kernels/sm80_s8_gemm_configs.cuh"
#include "ops/cuda/kernels/small_m_s8_gemm.cuh"
#include "ops/cuda/tile/split_k.h"
#include "support/int8_reference.h"

namespace intaglio::cuda {

alignas(1024) int32_t sums[48 * 1024 / 4];

namespace {

using emulation::machine;

struct Ragged {
  int max_m, max_n, max_k;
  bool aligned = true;
};

struct Problem {
  std::vector<uint4> a_storage, w_storage, out_storage, expected;
  std::vector<float> row_scale, col_scale, bias;
  std::vector<uint4> side_x, side_w;
  S8GemmParams p{};

  int cols() const { return out_columns(p); }
  bool two_bytes() const { return p.out_type == DType::kBF16 || p.out_type == DType::kF16; }
  void poison() {
    std::memset(out_storage.data(), 0xa5, out_storage.size() * sizeof(uint4));
    std::memset(smem, 0x55, sizeof(smem));
    machine.fault = nullptr;
  }
};

int8_t* random_bytes(std::vector<uint4>& storage, int64_t bytes, std::mt19937& random) {
  storage.resize(static_cast<size_t>(bytes / 16 + 1));
  auto* first = reinterpret_cast<int8_t*>(storage.data());
  for (size_t i = 0; i < storage.size() * 16; ++i) first[i] = static_cast<int8_t>(random());
  return first;
}

// [rows, rank] of bf16 whose sums of products are exact in float, in any order.
const uint16_t* random_side(std::vector<uint4>& storage, int rows, int rank, int first_zero,
                            float size, std::mt19937& random) {
  storage.assign(static_cast<size_t>(rows * rank) / 8, uint4{});
  auto* const values = reinterpret_cast<BFloat16*>(storage.data());
  for (int i = 0; i < rows * rank; ++i) {
    const bool is_zero = i % rank / 16 == first_zero / 16 && first_zero >= 0;
    const auto value = static_cast<float>(static_cast<int>(random() % 5) - 2);
    values[i] = BFloat16(is_zero ? 0.0f : size * value);
  }
  return reinterpret_cast<const uint16_t*>(values);
}

// A side branch of rank 16 or 32, as large as the sums it joins. Kernels add 16 of the rank at a
// time and round then: of rank 32 one half is zero, so that their bits are the reference's.
void add_side(Problem& q, std::mt19937& random) {
  S8GemmParams& p = q.p;
  p.side_rank = random() % 2 == 0 ? 16 : 32;
  const int first_zero = p.side_rank == 16 ? -1 : static_cast<int>(random() % 2) * 16;
  p.side_x = random_side(q.side_x, p.m, p.side_rank, first_zero, 512.0f, random);
  p.side_w = random_side(q.side_w, p.n, p.side_rank, first_zero, 8.0f, random);
}

// Operands and the expected output of a problem whose sizes, output and epilogue are set. `spare`:
// most columns between rows of the output.
void fill_problem(Problem& q, bool aligned, int spare, std::mt19937& random) {
  const auto below = [&](int limit) {
    return static_cast<int>(random() % static_cast<unsigned>(limit));
  };
  S8GemmParams& p = q.p;
  p.lda = aligned ? (p.k + 15) / 16 * 16 + 16 * below(2) : p.k + below(9);
  p.ldw = aligned ? (p.k + 15) / 16 * 16 : p.k + below(9);
  p.ldo = q.cols() + (spare > 0 && below(2) == 0 ? below(spare) : 0);
  p.a = random_bytes(q.a_storage, p.m * p.lda, random);
  p.w = random_bytes(q.w_storage, p.n * p.ldw, random);
  const float size = 1.0f / (5460.0f * std::sqrt(static_cast<float>(p.k)));
  std::uniform_real_distribution<float> unit(0.0f, 1.0f);
  q.row_scale.resize(static_cast<size_t>(p.m));
  q.col_scale.resize(static_cast<size_t>(p.n));
  q.bias.resize(static_cast<size_t>(p.n));
  for (float& x : q.row_scale) x = 0.5f + unit(random);
  for (float& x : q.col_scale) x = size * (0.5f + unit(random));
  for (float& x : q.bias) x = 2.0f * unit(random) - 1.0f;
  if (below(4) == 0) q.row_scale[static_cast<size_t>(below(p.m))] = std::nanf("");
  p.a_scale_row = q.row_scale.data();
  p.w_scale_col = q.col_scale.data();
  p.bias = below(4) == 0 ? nullptr : q.bias.data();
  if (p.out_type != DType::kI32 && below(2) == 0) add_side(q, random);
  q.out_storage.resize(static_cast<size_t>((p.m + 1) * p.ldo / 4 + 1));
  p.out = q.out_storage.data();
  q.poison();
  q.expected = q.out_storage;
  test::reference_s8_gemm(p, q.expected.data());
}

Problem make_problem(const Ragged& limits, std::mt19937& random) {
  const auto below = [&](int limit) {
    return static_cast<int>(random() % static_cast<unsigned>(limit));
  };
  Problem q;
  S8GemmParams& p = q.p;
  constexpr DType kOuts[] = {DType::kI32, DType::kF32, DType::kBF16, DType::kF16};
  p.m = 1 + below(limits.max_m);
  p.n = 1 + below(limits.max_n);
  p.k = 1 + below(limits.max_k);
  p.out_type = kOuts[below(4)];
  p.epilogue = kGemmEpilogues[below(static_cast<int>(std::size(kGemmEpilogues)))];
  if (is_gated(p.epilogue) || below(2) == 0) p.n = (p.n + 31) / 32 * 32;
  fill_problem(q, limits.aligned, 9, random);
  return q;
}

float element(const std::vector<uint4>& storage, DType type, int64_t index) {
  const void* const data = storage.data();
  if (type == DType::kBF16) return static_cast<float>(static_cast<const BFloat16*>(data)[index]);
  if (type == DType::kF16) return static_cast<float>(static_cast<const Float16*>(data)[index]);
  return static_cast<const float*>(data)[index];
}

// Whether the output is right there; beside it, that is poison still.
bool is_right(const Problem& q, int64_t row, int64_t col) {
  const S8GemmParams& p = q.p;
  const int64_t index = row * p.ldo + col;
  const bool inside = row < p.m && col < q.cols();
  if (inside && p.out_type != DType::kI32)
    return ref::s8_agrees(p.out_type, p.epilogue, element(q.out_storage, p.out_type, index),
                          element(q.expected, p.out_type, index));
  const auto same = [&]<typename T>(T) {
    return reinterpret_cast<const T*>(q.out_storage.data())[index] ==
           reinterpret_cast<const T*>(q.expected.data())[index];
  };
  return q.two_bytes() ? same(uint16_t{}) : same(uint32_t{});
}

void expect_right(const Problem& q, const char* name) {
  int64_t wrong = 0, first_row = 0, first_col = 0;
  for (int64_t row = 0; row <= q.p.m; ++row) {
    for (int64_t col = 0; col < q.p.ldo; ++col) {
      if (is_right(q, row, col) || wrong++ > 0) continue;
      first_row = row;
      first_col = col;
    }
  }
  EXPECT_EQ(wrong, 0) << name << " m=" << q.p.m << " n=" << q.p.n << " k=" << q.p.k
                      << " ldo=" << q.p.ldo << " out=" << static_cast<int>(q.p.out_type) << " "
                      << epilogue_name(q.p.epilogue) << ": first at " << first_row << ", "
                      << first_col;
  EXPECT_EQ(machine.fault, nullptr) << name;
}

void run_grid(unsigned blocks, int threads, std::function<void()> kernel) {
  machine.grid = {blocks, 1, 1};
  machine.kernel = std::move(kernel);
  for (unsigned block = 0; block < blocks; ++block) {
    machine.block = {block, 0, 0};
    emulation::run_block(threads);
  }
}

// int32 partial sums in `workspace`, as the launchers set it up.
S8GemmParams partial_params(const Problem& q, const S8SplitK& split,
                            std::vector<uint4>& workspace) {
  workspace.assign(split.partial_bytes(q.p) / 16 + 1, uint4{7, 7, 7, 7});
  S8GemmParams p = q.p;
  p.out = workspace.data();
  p.ldo = split.ld;
  p.out_type = DType::kI32;
  p.epilogue = GemmEpilogue::kNone;
  return p;
}

void reduce(const Problem& q, const S8SplitK& split, const std::vector<uint4>& workspace) {
  const S8ReduceArgs args{q.p, reinterpret_cast<const int32_t*>(workspace.data()), split.ld,
                          split.splits};
  const int pairs = q.p.m * ((q.cols() + 1) / 2);
  run_grid(static_cast<unsigned>((pairs + kS8ReduceThreads - 1) / kS8ReduceThreads),
           kS8ReduceThreads, [&] { s8_reduce_kernel(args); });
}

template <class C>
void run_sm80(Problem& q, std::mt19937& random) {
  q.poison();
  machine.late_copies = random() % 2 == 0;
  const int k_tiles = (q.p.k + C::kTileK - 1) / C::kTileK;
  const S8SplitK split = split_k_plan(q.p, k_tiles, static_cast<int>(1 + random() % 3));
  std::vector<uint4> workspace;
  Sm80S8GemmArgs args{};
  args.p = split.splits > 1 ? partial_params(q, split, workspace) : q.p;
  args.tiles_m = (q.p.m + C::kTileM - 1) / C::kTileM;
  args.tiles_n = (q.p.n + C::kTileN - 1) / C::kTileN;
  args.group_n = static_cast<int>(1 + random() % 3);
  args.k_tiles = k_tiles;
  args.k_tiles_per_split = split.steps_per_split;
  args.splits = split.splits;
  const auto work = static_cast<unsigned>(args.tiles_m * args.tiles_n * args.splits);
  run_grid(std::min<unsigned>(work, 1 + random() % 4), C::kThreads,
           [&] { sm80_s8_gemm_kernel<C>(args); });
  if (split.splits > 1) reduce(q, split, workspace);
}

template <class C>
class Sm80S8GemmTest : public testing::Test {};
template <class... C>
testing::Types<C...> as_test_types(std::tuple<C...>);
using Sm80Configs = decltype(as_test_types(Sm80S8GemmConfigs{}));
TYPED_TEST_SUITE(Sm80S8GemmTest, Sm80Configs);

TYPED_TEST(Sm80S8GemmTest, AgreesWithTheReference) {
  using C = TypeParam;
  std::mt19937 random(3);
  for (int i = 0; i < 3; ++i) {
    const Ragged limits{C::kTileM * 3 / 2, C::kTileN * 3 / 2, 300, C::kAligned};
    Problem q = make_problem(limits, random);
    run_sm80<C>(q, random);
    expect_right(q, "sm80_s8_gemm");
  }
}

// Tiles inside a 2-byte output with aligned rows have an epilogue of their own; beside them, edges.
TYPED_TEST(Sm80S8GemmTest, WholeTilesAgreeWithTheReference) {
  using C = TypeParam;
  std::mt19937 random(6);
  for (const DType out : {DType::kBF16, DType::kF16}) {
    for (const GemmEpilogue epilogue : kGemmEpilogues) {
      Problem q;
      q.p.m = C::kTileM + 21;
      q.p.n = C::kTileN + 32;
      q.p.k = 70;
      q.p.out_type = out;
      q.p.epilogue = epilogue;
      fill_problem(q, C::kAligned, 0, random);
      run_sm80<C>(q, random);
      expect_right(q, "sm80_s8_gemm");
    }
  }
}

template <class C>
class SmallMS8GemmTest : public testing::Test {};
using SmallMConfigs = testing::Types<SmallMS8GemmConfig<1, 1, 4>, SmallMS8GemmConfig<2, 1, 4>,
                                     SmallMS8GemmConfig<4, 2, 2>, SmallMS8GemmConfig<8, 1, 2>>;
TYPED_TEST_SUITE(SmallMS8GemmTest, SmallMConfigs);

TYPED_TEST(SmallMS8GemmTest, AgreesWithTheReference) {
  using C = TypeParam;
  std::mt19937 random(4);
  for (int i = 0; i < 4; ++i) {
    Problem q = make_problem({C::kTileM + 3, 100, i == 0 ? 60 : 2500}, random);
    q.poison();
    const S8SplitK split = split_k_plan(q.p, q.p.k / C::kStepK, static_cast<int>(1 + random() % 4));
    const bool through_workspace = split.splits > 1 || q.cols() < q.p.n;
    std::vector<uint4> workspace;
    const SmallMS8GemmArgs args{through_workspace ? partial_params(q, split, workspace) : q.p,
                                split.splits, split.steps_per_split};
    machine.kernel = [&] { small_m_s8_gemm_kernel<C>(args); };
    for (unsigned z = 0; z < static_cast<unsigned>((q.p.m + C::kTileM - 1) / C::kTileM); ++z) {
      for (unsigned y = 0; y < static_cast<unsigned>(split.splits); ++y) {
        for (unsigned x = 0; x < static_cast<unsigned>((q.p.n + C::kTileN - 1) / C::kTileN); ++x) {
          machine.block = {x, y, z};
          emulation::run_block(C::kThreads);
        }
      }
    }
    if (through_workspace) reduce(q, split, workspace);
    expect_right(q, "small_m_s8_gemm");
  }
}

TEST(Sm75S8GemmTest, AgreesWithTheReference) {
  using C = Sm75S8GemmConfig;
  std::mt19937 random(5);
  for (int i = 0; i < 4; ++i) {
    Problem q = make_problem({200, 200, 200, i % 2 == 0}, random);
    q.poison();
    Sm75S8GemmArgs args{};
    args.p = q.p;
    args.tiles_m = (q.p.m + C::kTileM - 1) / C::kTileM;
    args.tiles_n = (q.p.n + C::kTileN - 1) / C::kTileN;
    args.group_n = 2;
    args.k_tiles = (q.p.k + C::kTileK - 1) / C::kTileK;
    args.aligned = i % 2 == 0;
    run_grid(static_cast<unsigned>(args.tiles_m * args.tiles_n), C::kThreads,
             [&] { sm75_s8_gemm_kernel(args); });
    expect_right(q, "sm75_s8_gemm");
  }
}

}  // namespace
}  // namespace intaglio::cuda
