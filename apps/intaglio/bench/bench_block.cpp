// `intaglio bench block`: one transformer block at given widths, precisions side by side, with the
// share of each part.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <memory>
#include <random>

#include "argument_values.h"
#include "bench/bench.h"
#include "bench/bench_memory.h"
#include "command.h"
#include "console.h"
#include "core/relative_error.h"
#include "interrupt.h"
#include "models/ideogram4/transformer.h"
#include "options.h"
#include "pipeline/pipeline.h"
#include "run_files.h"

namespace intaglio::cli {
namespace {

struct BlockFlags {
  int64_t heads = 18, head_dim = 256, ffn = 12288, tokens = 4096, layers = 1;
  int rounds = 5;
  int threads = 0;
  std::string precisions = "int8,bf16,int8-dequant";
  std::string json;
};

// A model of one precision with what a forward pass needs.
struct Block {
  std::unique_ptr<Transformer> model;
  TransformerSession session;
  Profile profile;  // of the timed passes
  std::vector<float> velocity;
};

ideogram4::TransformerConfig block_config(const BlockFlags& flags) {
  ideogram4::TransformerConfig config;
  config.layers = flags.layers;
  config.heads = flags.heads;
  config.head_dim = flags.head_dim;
  config.intermediate = flags.ffn;
  config.adaln_dim = 512;
  config.channels = 128;
  config.text_dim = 64;  // not loaded
  const int64_t third = flags.head_dim / 2 / 3;
  config.mrope_section = {flags.head_dim / 2 - 2 * third, third, third};
  config.rope_theta = 5e6;
  config.norm_eps = 1e-5f;
  return config;
}

// Without text, as yet without weights.
std::unique_ptr<Transformer> make_transformer(const BlockFlags& flags,
                                              const std::string& precision) {
  TransformerOptions options;
  options.selection.precision = *precision_from_name(precision);
  return std::make_unique<ideogram4::Transformer>(block_config(flags), std::move(options), false);
}

// A grid of exactly `tokens` tokens, as square as it divides.
std::pair<int64_t, int64_t> grid_of(int64_t tokens) {
  int64_t rows = static_cast<int64_t>(std::sqrt(static_cast<double>(tokens)));
  while (tokens % rows != 0) --rows;
  return {rows, tokens / rows};
}

Expected<std::unique_ptr<Block>> make_block(const BlockFlags& flags, Context& context, Arena& arena,
                                            const std::string& precision) {
  context.scratch = &arena;
  std::unique_ptr<Transformer> model = make_transformer(flags, precision);
  SyntheticSource source(1, context.cancel);
  INTAGLIO_TRY(model->load(context, source));
  const auto [rows, cols] = grid_of(flags.tokens);
  const size_t scratch = model->scratch_bytes(context, {.grid_h = rows, .grid_w = cols}, 1);
  if (arena.capacity() < scratch) {
    INTAGLIO_ASSIGN(arena, Arena::with_capacity(scratch));
  }
  const float time = 0.5f;
  auto block = std::make_unique<Block>();
  INTAGLIO_TRY(model->prepare(context, {}, rows, cols, std::span(&time, 1), block->session));
  INTAGLIO_TRY(model->select_step(context, block->session, 0));
  block->velocity.resize(static_cast<size_t>(flags.tokens * model->channels()));
  block->model = std::move(model);
  return block;
}

// All blocks stay loaded beside each other.
Status check_memory_of(const Context& context, const BlockFlags& flags,
                       const std::vector<std::string>& precisions) {
  const auto [rows, cols] = grid_of(flags.tokens);
  uint64_t all = 0, scratch = 0;
  for (const std::string& precision : precisions) {
    const PassSize size{.grid_h = rows, .grid_w = cols};
    INTAGLIO_ASSIGN(
        const TransformerBytes bytes,
        transformer_bytes(context, *make_transformer(flags, precision), std::span(&size, 1)));
    all += bytes.weights + bytes.sessions;
    scratch = std::max(scratch, std::max(bytes.scratch, bytes.staging));
  }
  return check_memory(
      context,
      fmt::format("{} layers of {} tokens at {}", flags.layers, flags.tokens, flags.precisions),
      all + scratch);
}

nlohmann::ordered_json parts_json(const Profile& profile, double passes) {
  nlohmann::ordered_json parts;
  for (size_t i = 0; i < kProfilePartNames.size(); ++i)
    parts[std::string(kProfilePartNames[i])] = profile.time_ms[i] / passes;
  return parts;
}

Status run_block(const BlockFlags& flags) {
  INTAGLIO_TRY(check_files({.outputs = {{"--json", flags.json}}, .inputs = {}}));
  INTAGLIO_ASSIGN(const std::vector<std::string> precisions,
                  parse_precisions(flags.precisions, {"fp32", "bf16", "int8", "int8-dequant"}));
  if (flags.head_dim % 2 != 0)
    return make_error(ErrorCode::kInvalidArgument, "--head-dim: expected an even number, found {}",
                      flags.head_dim);
  INTAGLIO_ASSIGN(Context context, host_context(flags.threads));
  context.cancel = &interrupted;
  INTAGLIO_TRY(check_memory_of(context, flags, precisions));
  Arena arena;
  std::vector<float> latents(static_cast<size_t>(flags.tokens * block_config(flags).channels));
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (float& value : latents) value = normal(random);

  std::vector<std::unique_ptr<Block>> blocks;
  for (const std::string& precision : precisions) {
    INTAGLIO_ASSIGN(auto block, make_block(flags, context, arena, precision));
    blocks.push_back(std::move(block));
  }
  context.scratch = &arena;  // grown to the largest need above
  std::vector<Candidate> candidates;
  std::vector<int64_t> passes(blocks.size(), 0);
  for (size_t i = 0; i < blocks.size(); ++i) {
    Block* block = blocks[i].get();
    Candidate candidate;
    candidate.name = precisions[i];
    candidate.run = [&context, &latents, &passes, block, i]() -> Status {
      ++passes[i];
      return block->model->forward(context, block->session, latents.data(), block->velocity.data(),
                                   &block->profile);
    };
    candidates.push_back(std::move(candidate));
  }
  INTAGLIO_TRY(run_interleaved(candidates, flags.rounds));

  Stream out = flags.json == "-" ? Stream::kErr : Stream::kOut;
  // The same weights at every precision: the first one listed is the yardstick of the others'
  // results.
  print(out, "{} block{} of width {} ({} heads x {}), FFN {}, {} tokens; {}, {} threads\n",
        flags.layers, flags.layers == 1 ? "" : "s", flags.heads * flags.head_dim, flags.heads,
        flags.head_dim, flags.ffn, flags.tokens, context.cpu.brand, context.threads);
  print(out, "{:<14} {:>10} {:>20} {:>10}  parts (ms)\n", "precision", "median ms", "min .. max",
        "vs first");
  nlohmann::ordered_json results = nlohmann::ordered_json::array();
  for (size_t i = 0; i < candidates.size(); ++i) {
    const Spread spread = spread_of(candidates[i].times_ms);
    const double difference = relative_error(blocks[i]->velocity, blocks[0]->velocity);
    const nlohmann::ordered_json parts =
        parts_json(blocks[i]->profile, static_cast<double>(passes[i]));
    std::string text;
    for (const auto& [name, time] : parts.items()) {
      if (time.get<double>() > 0) text += fmt::format("{} {:.1f}  ", name, time.get<double>());
    }
    print(out, "{:<14} {:>10.2f} {:>20} {:>10.2e}  {}\n", candidates[i].name, spread.median,
          fmt::format("{:.2f} .. {:.2f}", spread.min, spread.max), difference, text);
    results.push_back({{"precision", candidates[i].name},
                       {"median_ms", spread.median},
                       {"min_ms", spread.min},
                       {"max_ms", spread.max},
                       {"times_ms", candidates[i].times_ms},
                       {"parts_ms", parts},
                       {"weight_bytes", blocks[i]->model->weight_bytes()},
                       {"difference_from_first", difference}});
  }
  if (flags.json.empty()) return {};
  return write_result(flags.json, {{"benchmark", "block"},
                                   {"machine", machine_json(context)},
                                   {"layers", flags.layers},
                                   {"heads", flags.heads},
                                   {"head_dim", flags.head_dim},
                                   {"ffn", flags.ffn},
                                   {"tokens", flags.tokens},
                                   {"rounds", flags.rounds},
                                   {"results", results}});
}

}  // namespace

void add_bench_block(CLI::App& bench, Action& action) {
  auto flags = std::make_shared<BlockFlags>();
  CLI::App* command =
      bench.add_subcommand("block", "One random transformer block, precisions side by side");
  limit(command->add_option("--heads", flags->heads, "Attention heads"), 1, 256)
      ->capture_default_str();
  limit(command->add_option("--head-dim", flags->head_dim, "Channels of a head"), 8, 1024)
      ->capture_default_str();
  limit(command->add_option("--ffn", flags->ffn, "Width of the feed-forward"), 16, 1 << 17)
      ->capture_default_str();
  limit(command->add_option("--tokens", flags->tokens, "Image tokens"), 1, 1 << 20)
      ->capture_default_str();
  limit(command->add_option("--layers", flags->layers, "Blocks"), 1, 64)->capture_default_str();
  command->add_option("--precision", flags->precisions, "Precisions to compare")
      ->type_name("P[,P...]")
      ->capture_default_str();
  limit(command->add_option("--rounds", flags->rounds, "Timed rounds"), 1, 1000)
      ->capture_default_str();
  add_threads_flag(*command, flags->threads);
  command->add_option("--json", flags->json, "Write the result as JSON to a file; - for stdout")
      ->type_name("FILE|-");
  command->footer(
      "The default widths are those of Ideogram 4 at 1024x1024 pixels. Times include the input and "
      "output projections.\n"
      "Example:\n"
      "  intaglio bench block --tokens 1024 --precision bf16,int8 --json block.json");
  command->callback([flags, &action] {
    action = [flags] {
      const Status status = run_block(*flags);
      return status ? kExitOk : fail(status.error(), false);
    };
  });
}

}  // namespace intaglio::cli
