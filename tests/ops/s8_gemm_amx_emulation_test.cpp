// The AMX driver and blocking on emulated tiles, so that they are tested on machines without AMX.
#include <gtest/gtest.h>

#include <cstring>

#include "ops/cpu/amx/amx_gemm_kernel.h"
#include "ops/cpu/s8_amx_gemm.h"
#include "ops/cpu/s8_gemm_implementations.h"
#include "ops/emulated_tiles.h"
#include "ops/first_on_cpu.h"
#include "ops/ref/s8_gemm.h"
#include "ops/s8_gemm_cases.h"

#if defined(__x86_64__)

namespace intaglio {
namespace {

using testing::expect_same_output;
using testing::make_s8_case;
using testing::run_s8_case;
using testing::S8Case;
using testing::S8Output;

// What tdpbssd does, in plain loops.
struct EmulatedOps : testing::EmulatedTiles {
  using Task = S8AmxTask;
  using Epilogue = S8Epilogue;
  struct Columns {};
  template <int kAcc, int kA, int kW>
  static void dot() {
    for (int r = 0; r < 16; ++r) {
      int32_t acc[16];
      std::memcpy(acc, tiles[kAcc].bytes[r], 64);
      for (int c = 0; c < 16; ++c) {
        for (int k = 0; k < 64; ++k) {
          acc[c] += int32_t{static_cast<int8_t>(tiles[kA].bytes[r][k])} *
                    int32_t{static_cast<int8_t>(tiles[kW].bytes[k / 4][c * 4 + k % 4])};
        }
      }
      std::memcpy(tiles[kAcc].bytes[r], acc, 64);
    }
  }
  static Columns columns(const S8Epilogue&, int64_t) { return {}; }
  static void epilogue_row(const S8Epilogue& epilogue, const Columns&, const int32_t* acc,
                           int64_t row, int64_t col0) {
    ref::s8_epilogue_row(epilogue, acc, row, col0);
  }
};

void emulated_task(const S8AmxTask& task) { run_task<EmulatedOps>(task); }

const S8GemmImplementation& amx_implementation() {
  const auto& first = first_on_cpu(s8_gemm_implementations());
  EXPECT_STREQ(first.name, "amx_s8_gemm");
  return first;
}

void compare(const S8Case& c, GemmEpilogue epilogue, DType out, const AmxTuning& tuning,
             int threads) {
  SCOPED_TRACE(fmt::format("{}x{}x{} out {} groups {} pieces of {} blocks of {} threads {}", c.m,
                           c.n, c.k, dtype_name(out), tuning.tile_groups, tuning.piece_steps,
                           tuning.k_block, threads));
  const S8GemmDesc desc{c.m, c.n, c.k, epilogue, out};
  const auto& amx = amx_implementation();
  const auto& ref = s8_gemm_implementations().back();
  auto packed = AlignedBuffer::allocate(amx.packed_bytes(c.n, c.k));
  ASSERT_TRUE(packed.has_value());
  amx.pack(c.w.data(), c.n, c.k, packed->data());
  const S8Output expected =
      run_s8_case(c, desc, Context{}, std::as_bytes(std::span(c.w)), 0, true, ref.run);
  const S8Output got = run_s8_case(
      c, desc, Context{.threads = threads, .cpu = {}}, {packed->as<std::byte>(), packed->size()},
      s8_amx_scratch_bytes(desc, threads, tuning), true,
      [&](const Context& context, const S8GemmDesc& d, const S8GemmArgs& args) {
        return s8_amx_run(context, d, args, emulated_task, tuning);
      });
  expect_same_output(desc, got, expected);
}

TEST(S8GemmAmxEmulation, RaggedShapesAgreeWithTheReference) {
  for (int64_t m : {1, 15, 16, 17, 31, 32, 33, 48, 65, 100}) {
    for (int64_t k : {1, 15, 63, 64, 65, 100, 192}) {
      for (int threads : {1, 3})
        compare(make_s8_case(m, 1 + (m * 37 + k * 11) % 100, k), GemmEpilogue::kNone, DType::kI32,
                {}, threads);
    }
  }
  for (int64_t n : {1, 15, 17, 31, 33, 63, 65, 100})
    compare(make_s8_case(17, n, 128), GemmEpilogue::kNone, DType::kF32, {}, 2);
  compare(make_s8_case(40, 40, 64, 13), GemmEpilogue::kNone, DType::kBF16, {}, 2);
}

// Every combination of one or several pieces, depth blocks and row blocks, with few and many row
// tiles.
TEST(S8GemmAmxEmulation, AllBlockingsAgreeWithTheReference) {
  for (int64_t m : {16, 40, 161}) {
    const S8Case c = make_s8_case(m, 200, 640);
    for (int64_t tile_groups : {2, 3}) {
      for (int64_t piece_steps : {1, 3, 10, 16}) {
        for (int64_t k_block : {64, 300, 640, 5120}) {
          for (int64_t a_block_bytes : {1, 30000, 1 << 20}) {
            compare(c, GemmEpilogue::kNone, DType::kF32,
                    {.tile_groups = tile_groups,
                     .piece_steps = piece_steps,
                     .piece_tiles = piece_steps == 10 ? 2 : 1024,
                     .k_block = k_block,
                     .a_block_bytes = a_block_bytes,
                     .pack_a = piece_steps != 3,
                     .pack_bytes = 1,
                     .stream_a = piece_steps == 16,
                     .prefetch_a = 2},
                    2);
          }
        }
      }
    }
  }
}

// A thread that takes several tasks of one M block copies its slice of A once; with several slices
// of k, every time.
TEST(S8GemmAmxEmulation, CopiesOfAServeSeveralTasks) {
  const S8Case c = make_s8_case(81, 1000, 500);
  for (int64_t tile_groups : {2, 3}) {
    for (int64_t k_block : {256, 512}) {
      const AmxTuning tuning{.tile_groups = tile_groups,
                             .piece_steps = 3,
                             .k_block = k_block,
                             .block_rows = 48,
                             .pack_bytes = 1};
      const S8GemmDesc desc{c.m, c.n, c.k, GemmEpilogue::kNone, DType::kI32};
      const AmxPlan plan = amx_plan({desc.m, desc.n, desc.k}, 1, tuning);
      EXPECT_GT(plan.pack_bytes, 0);
      EXPECT_GT(plan.tasks_per_block, 1);
      EXPECT_GT(plan.m_blocks, 1);
      for (int threads : {1, 3}) compare(c, GemmEpilogue::kNone, DType::kI32, tuning, threads);
    }
  }
}

TEST(S8GemmAmxEmulation, PlansStayWithinTheCaches) {
  for (int64_t m : {1, 16, 33, 77, 256, 1024, 4096}) {
    for (int64_t n : {384, 4608, 12288, 24576}) {
      for (int64_t k : {384, 4608, 12288}) {
        for (int threads : {1, 2, 16}) {
          const AmxPlan plan = amx_plan({m, n, k}, threads, AmxTuning{});
          SCOPED_TRACE(fmt::format("{}x{}x{} on {}", m, n, k, threads));
          EXPECT_GE(plan.m_blocks * plan.tasks_per_block,
                    std::min<int64_t>(plan.threads, plan.panels));
          // L2 holds 2 MiB: the slice of A, the waiting sums, and room for the weights that pass.
          EXPECT_LE(plan.pack_bytes + 4 * plan.acc_elements, 1920 << 10);
          EXPECT_LE(plan.m_blocks, plan.row_tiles);
          EXPECT_LE(plan.piece_steps, plan.k_block_steps);
        }
      }
    }
  }
}

TEST(S8GemmAmxEmulation, EpiloguesAgreeWithTheReference) {
  for (DType out : {DType::kI32, DType::kF32, DType::kBF16}) {
    for (const GemmEpilogue epilogue : kGemmEpilogues) {
      const int64_t n = is_gated(epilogue) ? 96 : 90;
      compare(make_s8_case(70, n, 128), epilogue, out, {}, 2);
      compare(make_s8_case(70, n, 128), epilogue, out, {.tile_groups = 3}, 2);
    }
  }
}

TEST(S8GemmAmxEmulation, LongestSumsAreExact) {
  compare(make_s8_case(3, 20, 53248), GemmEpilogue::kNone, DType::kI32, {}, 1);
}

}  // namespace
}  // namespace intaglio

#endif  // __x86_64__
