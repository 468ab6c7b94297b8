// What tests of split passes share: the velocity of one device, and of ranks that have a thread and
// a part of the rows each. They are the same bit for bit, as every number of a row is computed from
// the row alone and heads of attention from their own. Float products of a handful of rows
// (kDotRows) are summed in another order: with so few of them the numbers of a rank are near.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <vector>

#include "core/collective.h"
#include "core/memory.h"
#include "core/relative_error.h"
#include "models/transformer.h"
#include "models/two_stream_transformer.h"
#include "ops/cpu/float_gemm_driver.h"
#include "unit/models/passes.h"
#include "verify/tolerances.h"

namespace intaglio::test {

// What a pass computes, of a reference case or made up.
struct Problem {
  PassSize size;
  std::vector<float> text, latents, times;
  TextInput input() const {
    return {.tokens = size.text_tokens, .features = text.empty() ? nullptr : text.data()};
  }
};

// A rank of one: a context with an arena of what is planned, and a session.
struct Rank {
  Context context;
  Arena arena;
  TransformerSession session;
  std::vector<float> residual;

  Status prepare(const Transformer& transformer, const Problem& problem, RowSplit split,
                 Collective* collective) {
    PassSize size = problem.size;
    size.split = split;
    INTAGLIO_ASSIGN(AlignedBuffer block,
                    allocate(context, transformer.scratch_bytes(context, size, 2)));
    arena = Arena(std::move(block));
    context.scratch = &arena;
    session.share_rows(collective);
    residual.assign(static_cast<size_t>(transformer.residual_values(size)), 0.0f);
    INTAGLIO_TRY(transformer.prepare(context, problem.input(), size.grid_h, size.grid_w,
                                     problem.times, session));
    return transformer.select_step(context, session, 1);
  }
};

// The rows of a velocity that no rank wrote hold this.
constexpr float kUnwritten = 1e30f;

inline std::vector<float> whole_velocity(const Transformer& transformer, const CpuFeatures& cpu,
                                         const Problem& problem) {
  Rank rank;
  rank.context = {.threads = 2, .cpu = cpu};
  std::vector<float> velocity(problem.latents.size(), kUnwritten);
  EXPECT_TRUE(rank.prepare(transformer, problem, {}, nullptr));
  EXPECT_TRUE(
      transformer.forward(rank.context, rank.session, problem.latents.data(), velocity.data()));
  return velocity;
}

// The same of `ranks` ranks, each a thread; `caches`: a pass that keeps what its blocks after the
// first add, then one that reuses it. `change`: what is done to a rank's context before its pass.
inline std::vector<float> split_velocity(
    const Transformer& transformer, const CpuFeatures& cpu, const Problem& problem, int ranks,
    bool caches = false, std::vector<Status>* failures = nullptr,
    const std::function<void(int, Context&)>& change = [](int, Context&) {}) {
  std::vector<Rank> all(static_cast<size_t>(ranks));
  std::vector<const Context*> contexts;
  for (Rank& rank : all) {
    rank.context = {.threads = 1, .cpu = cpu};
    contexts.push_back(&rank.context);
  }
  const auto group = make_linked_group(contexts).value();
  std::vector<float> velocity(problem.latents.size(), kUnwritten);
  std::vector<Status> done(all.size());
  const auto run = [&](int index) -> Status {
    Rank& rank = all[static_cast<size_t>(index)];
    INTAGLIO_TRY(rank.prepare(transformer, problem, {index, ranks}, &group->rank(index)));
    change(index, rank.context);
    BlockCache cache;
    if (caches) cache = {.first = 1, .residual = rank.residual.data()};
    INTAGLIO_TRY(transformer.forward(rank.context, rank.session, problem.latents.data(),
                                     velocity.data(), nullptr, cache));
    EXPECT_LE(rank.arena.peak(), rank.arena.capacity());
    if (!caches) return {};
    cache.reuse = true;
    return transformer.forward(rank.context, rank.session, problem.latents.data(), velocity.data(),
                               nullptr, cache);
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < ranks; ++i)
    threads.emplace_back([&, i] {
      Status& status = done[static_cast<size_t>(i)];
      status = run(i);
      if (!status) group->abort();
    });
  for (std::thread& thread : threads) thread.join();
  if (failures != nullptr) {
    *failures = std::move(done);
    return velocity;
  }
  for (const Status& status : done) EXPECT_TRUE(status) << status.error().message;
  return velocity;
}

// Whether each rank has enough rows for the sums of a whole pass.
inline bool has_same_sums(const Transformer& transformer, PassSize size, int ranks) {
  const bool two_streams = dynamic_cast<const TwoStreamTransformer*>(&transformer) != nullptr;
  for (int rank = 0; rank < ranks; ++rank) {
    size.split = {rank, ranks};
    const PassRows rows = transformer.pass_rows(size);
    const int64_t text = two_streams ? rows.text : 0;  // which has linears of its own
    for (const int64_t count : {rows.all(), text, rows.image, rows.image_tokens})
      if (count > 0 && count <= cpu::kDotRows) return false;
  }
  return true;
}

inline void expect_velocity(const Transformer& transformer, const CpuFeatures& cpu,
                            const Problem& problem, const std::vector<float>& whole, int ranks) {
  SCOPED_TRACE(testing::Message() << cpu_isa_name(cpu.isa) << ", " << problem.size.text_tokens
                                  << " + " << problem.size.image_tokens() << " rows over "
                                  << ranks);
  const std::vector<float> split = split_velocity(transformer, cpu, problem, ranks);
  if (has_same_sums(transformer, problem.size, ranks)) {
    EXPECT_EQ(split, whole);
  } else if (transformer.selection().precision == Precision::kFp32) {
    EXPECT_LE(relative_error(split, whole), 1e-5);  // some thousands of roundings of 6e-8
  } else {
    // A sum that is another in its last bit may be rounded to the next of few numbers.
    EXPECT_LE(relative_error(split, whole),
              tolerances_for(transformer.selection().precision).velocity);
  }
}

inline Problem made_up(const Transformer& transformer, const PassSize& size) {
  return {.size = size,
          .text = random_values(size.text_tokens * transformer.text_dim(), 3),
          .latents = random_values(size.image_tokens() * transformer.channels(), 4),
          .times = {0.2f, 0.6f}};
}

}  // namespace intaglio::test
