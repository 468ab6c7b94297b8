// One pass whose rows are split over several ranks: the velocity of one device, bit for bit, as
// every number of a row is computed from the row alone and heads of attention from their own. Float
// products of a handful of rows (kDotRows) are summed in another order: with so few of them the
// numbers of a rank are near.
#include <gtest/gtest.h>

#include <functional>
#include <thread>

#include "core/collective.h"
#include "core/relative_error.h"
#include "io/json_config.h"
#include "io/safetensors.h"
#include "models/ideogram4/transformer.h"
#include "ops/cpu/float_gemm_driver.h"
#include "support/source_folder.h"
#include "support/tested_cpus.h"
#include "unit/models/passes.h"
#include "verify/tolerances.h"

namespace intaglio::ideogram4 {
namespace {

// What a pass computes, of a reference case or made up.
struct Problem {
  PassSize size;
  std::vector<float> text, latents, times;
  TextInput input() const {
    return {.tokens = size.text_tokens, .features = text.empty() ? nullptr : text.data()};
  }
};

std::unique_ptr<Transformer> load(const char* folder, const Context& context, Precision precision) {
  const std::filesystem::path part = test::source_path(folder);
  const JsonConfig config = *JsonConfig::open(part / "config.json");
  auto transformer = std::make_unique<Transformer>(
      *parse_transformer_config(config),
      TransformerOptions{.selection = {.precision = precision, .keep_bf16 = {}}});
  const auto source = transformer->open_source(
      Checkpoint::open(part / "diffusion_pytorch_model.safetensors").value());
  EXPECT_TRUE(source) << source.error().message;
  EXPECT_TRUE(transformer->load(context, **source));
  return transformer;
}

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

std::vector<float> whole_velocity(const Transformer& transformer, const CpuFeatures& cpu,
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
std::vector<float> split_velocity(
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

// Whether each rank has enough rows, and image rows or none, for the sums of a whole pass.
bool has_same_sums(const Transformer& transformer, PassSize size, int ranks) {
  for (int rank = 0; rank < ranks; ++rank) {
    size.split = {rank, ranks};
    const PassRows rows = transformer.pass_rows(size);
    if (rows.all() <= cpu::kDotRows) return false;
    if (rows.image > 0 && rows.image <= cpu::kDotRows) return false;
  }
  return true;
}

void expect_velocity(const Transformer& transformer, const CpuFeatures& cpu, const Problem& problem,
                     const std::vector<float>& whole, int ranks) {
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

struct Case {
  const char* folder;
  const char* file;
};

class SplitPass : public testing::TestWithParam<std::tuple<Case, Precision>> {
 protected:
  static Problem problem_of(const char* file, std::vector<float>* expected = nullptr) {
    const auto tensors =
        SafetensorsFile::open(test::source_path(std::string("tests/reference/data/cases/") + file))
            .value();
    const auto read = [&](const char* name) { return read_floats(*tensors->find(name)).value(); };
    const JsonConfig note = JsonConfig::parse(tensors->metadata().at("note"), file).value();
    const std::vector<float> time = read("timestep");
    Problem problem{.size = {.text_tokens = tensors->find("text_features")->view.shape[0],
                             .grid_h = note.integer("grid_h", 1, 1 << 16).value(),
                             .grid_w = note.integer("grid_w", 1, 1 << 16).value()},
                    .text = read("text_features"),
                    .latents = read("latents"),
                    .times = {0.5f, time.front()}};
    if (expected != nullptr) *expected = read("velocity");
    return problem;
  }
};

TEST_P(SplitPass, VelocityIsThatOfOneDevice) {
  const auto& [which, precision] = GetParam();
  std::vector<float> expected;
  const Problem problem = problem_of(which.file, &expected);
  for (const CpuFeatures& cpu : test::tested_cpus()) {
    const auto transformer = load(which.folder, {.threads = 2, .cpu = cpu}, precision);
    const std::vector<float> whole = whole_velocity(*transformer, cpu, problem);
    EXPECT_LE(relative_error(whole, expected), tolerances_for(precision).velocity);
    const int64_t heads = std::string_view(which.folder).find("wide") != std::string::npos ? 2 : 4;
    for (int ranks = 2; ranks <= heads; ++ranks)
      expect_velocity(*transformer, cpu, problem, whole, ranks);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, SplitPass,
    testing::Combine(testing::Values(Case{"tests/reference/data/tiny/transformer",
                                          "transformer_small_0.safetensors"},
                                     Case{"tests/reference/data/tiny/transformer",
                                          "transformer_small_2.safetensors"},
                                     Case{"tests/reference/data/wide_transformer",
                                          "transformer_wide_1.safetensors"}),
                     testing::Values(Precision::kFp32, Precision::kBf16, Precision::kInt8)),
    [](const auto& info) {
      const std::string file = std::get<0>(info.param).file;
      std::string name = file.substr(12, file.find('.') - 12);
      return name + "_" + std::string(precision_name(std::get<1>(info.param)));
    });

constexpr const char* kTiny = "tests/reference/data/tiny/transformer";

Problem made_up(const Transformer& transformer, const PassSize& size) {
  return {.size = size,
          .text = test::random_values(size.text_tokens * transformer.text_dim(), 3),
          .latents = test::random_values(size.image_tokens() * transformer.channels(), 4),
          .times = {0.2f, 0.6f}};
}

// Rows that no number of ranks divides, ranks of text alone, passes without any text.
TEST(SplitPassSizes, AnyRowsAreSplit) {
  const CpuFeatures cpu = host_cpu_features();
  const auto transformer = load(kTiny, {.threads = 2, .cpu = cpu}, Precision::kInt8);
  int bit_equal = 0;
  for (const PassSize& size :
       {PassSize{.text_tokens = 5, .grid_h = 3, .grid_w = 5},
        PassSize{.text_tokens = 0, .grid_h = 1, .grid_w = 47},
        PassSize{.text_tokens = 71, .grid_h = 3, .grid_w = 5},  // ranks of text alone
        PassSize{.text_tokens = 130, .grid_h = 9, .grid_w = 11}}) {
    const Problem problem = made_up(*transformer, size);
    const std::vector<float> whole = whole_velocity(*transformer, cpu, problem);
    for (const int ranks : {2, 3, 4}) {
      expect_velocity(*transformer, cpu, problem, whole, ranks);
      if (has_same_sums(*transformer, size, ranks)) ++bit_equal;
    }
  }
  EXPECT_GE(bit_equal, 9);
}

// Each rank keeps and reuses what the blocks after the first add to its own rows.
TEST(SplitPassSizes, ABlockCacheIsOfTheRanksRows) {
  const CpuFeatures cpu = host_cpu_features();
  const auto transformer = load(kTiny, {.threads = 2, .cpu = cpu}, Precision::kFp32);
  const Problem problem = made_up(*transformer, {.text_tokens = 5, .grid_h = 3, .grid_w = 5});
  const std::vector<float> whole = whole_velocity(*transformer, cpu, problem);
  const std::vector<float> reused = split_velocity(*transformer, cpu, problem, 3, true);
  EXPECT_LE(relative_error(reused, whole), 1e-6);  // a difference and a sum are rounded
}

TEST(SplitPassSizes, FewerRowsOrHeadsThanRanksAreRefused) {
  const CpuFeatures cpu = host_cpu_features();
  const Context context{.threads = 1, .cpu = cpu};
  const auto transformer = load(kTiny, context, Precision::kFp32);
  PassSize size{.text_tokens = 4, .grid_h = 3, .grid_w = 5, .split = {0, 4}};
  EXPECT_TRUE(transformer->check_split(context, size));
  size.split = {0, 5};
  Status refused = transformer->check_split(context, size);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "a pass of 19 tokens and 4 key heads is split over 5 devices; expected at least one of "
            "both for each");
  size = {.text_tokens = 0, .grid_h = 1, .grid_w = 3, .split = {0, 4}};
  EXPECT_FALSE(transformer->check_split(context, size));
}

// A rank that is stopped before its second layer ends the others, which wait for its heads.
TEST(SplitPassSizes, ARankThatStopsEndsTheOthers) {
  const CpuFeatures cpu = host_cpu_features();
  const auto transformer = load(kTiny, {.threads = 2, .cpu = cpu}, Precision::kFp32);
  const Problem problem = made_up(*transformer, {.text_tokens = 5, .grid_h = 3, .grid_w = 5});
  const std::atomic<bool> stop = true;
  std::vector<Status> done;
  split_velocity(*transformer, cpu, problem, 3, false, &done, [&](int rank, Context& context) {
    if (rank == 1) context.cancel = &stop;
  });
  for (const Status& status : done) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
  }
}

}  // namespace
}  // namespace intaglio::ideogram4
