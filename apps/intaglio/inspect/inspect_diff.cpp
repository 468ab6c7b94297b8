#include "inspect/inspect_diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "command.h"
#include "console.h"
#include "interrupt.h"
#include "io/printable.h"
#include "models/checkpoint_diff.h"
#include "models/part_modules.h"
#include "pipeline/device.h"
#include "progress.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

// Tensors and names that a report lists unless all are asked for.
constexpr size_t kShown = 20;

constexpr std::array<const char*, 4> kParts{"transformer", "unconditional_transformer",
                                            "text_encoder", "vae"};

struct Pair {
  std::string part;  // empty: two files or parts, whatever they are of
  fs::path reference, other;
};

struct PartDiff {
  std::string part;
  std::string reference_format, other_format;
  CheckpointDifference difference;
};

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_model(const fs::path& path) { return is_there(path / "model_index.json"); }

Expected<std::shared_ptr<const StoredWeights>> open_weights(const fs::path& path) {
  if (!is_there(path))
    return make_error(ErrorCode::kNotFound, "{}: no such file or folder", path.string());
  INTAGLIO_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::open(path));
  return StoredWeights::open(std::move(checkpoint));
}

// The part of a model that the weights elsewhere are of, by their names.
Expected<fs::path> part_like(const fs::path& model, const fs::path& weights) {
  INTAGLIO_ASSIGN(const auto stored, open_weights(weights));
  INTAGLIO_ASSIGN(const PartModules modules, find_part_modules(stored->tensors()));
  return model / modules.part;
}

// What is compared with what; of two models all parts with weights that both have. `lone`: those
// of one of them.
Expected<std::vector<Pair>> choose_pairs(const DiffFlags& flags, std::vector<std::string>& lone) {
  const fs::path &a = flags.reference, &b = flags.other;
  if (!is_model(a) && !is_model(b)) return std::vector<Pair>{{{}, a, b}};
  if (!is_model(b)) {
    INTAGLIO_ASSIGN(fs::path part, part_like(a, b));
    return std::vector<Pair>{{{}, std::move(part), b}};
  }
  if (!is_model(a)) {
    INTAGLIO_ASSIGN(fs::path part, part_like(b, a));
    return std::vector<Pair>{{{}, a, std::move(part)}};
  }
  std::vector<Pair> pairs;
  for (const char* const part : kParts) {
    const bool in_a = is_there(a / part), in_b = is_there(b / part);
    if (in_a && in_b) pairs.push_back({part, a / part, b / part});
    if (in_a != in_b) lone.push_back((in_a ? a / part : b / part).string());
  }
  if (!pairs.empty()) return pairs;
  return make_error(ErrorCode::kNotFound, "{}, {}: no part with weights that both models have",
                    a.string(), b.string());
}

Expected<PartDiff> diff_pair(const Context& context, const Pair& pair, Progress& progress) {
  INTAGLIO_ASSIGN(const auto reference, open_weights(pair.reference));
  INTAGLIO_ASSIGN(const auto other, open_weights(pair.other));
  const std::string name = pair.part.empty() ? "comparing" : "comparing " + pair.part;
  PartDiff diff{pair.part, reference->format(), other->format(), {}};
  INTAGLIO_ASSIGN(diff.difference,
                  diff_checkpoints(context, *reference, *other, [&](int64_t done, int64_t all) {
                    if (progress.redraws()) progress.step(name, done, all);
                  }));
  progress.clear();
  const CheckpointDifference& d = diff.difference;
  if (d.tensors.empty() && d.not_compared.empty()) {
    return make_error(ErrorCode::kShapeMismatch,
                      "{}, {}: no tensor of one name in both; the first has {}, the "
                      "second {}",
                      pair.reference.string(), pair.other.string(),
                      d.only_reference.empty() ? "none" : printable(d.only_reference.front()),
                      d.only_other.empty() ? "none" : printable(d.only_other.front()));
  }
  return diff;
}

int64_t count_of(const CheckpointDifference& d, bool linears) {
  return std::count_if(d.tensors.begin(), d.tensors.end(),
                       [&](const TensorDifference& t) { return t.is_linear == linears; });
}

void print_names(const char* what, const std::vector<std::string>& names, bool all) {
  if (names.empty()) return;
  print(Stream::kOut, "  {} ({}):\n", what, names.size());
  const size_t shown = all ? names.size() : std::min(names.size(), kShown);
  for (size_t i = 0; i < shown; ++i) print(Stream::kOut, "    {}\n", printable(names[i]));
  if (shown < names.size())
    print(Stream::kOut, "    and {} more; --all lists them\n", names.size() - shown);
}

void print_part(const PartDiff& diff, bool all) {
  const CheckpointDifference& d = diff.difference;
  print(Stream::kOut, "{}{}{} against {} (the reference)\n", diff.part,
        diff.part.empty() ? "" : ": ", diff.other_format, diff.reference_format);
  print(Stream::kOut, "  {} linears: relative error {:.4g}; {} other tensors: {:.4g}\n",
        count_of(d, true), d.linears.relative(), count_of(d, false), d.others.relative());
  const size_t shown = all ? d.tensors.size() : std::min(d.tensors.size(), kShown);
  for (size_t i = 0; i < shown; ++i)
    print(Stream::kOut, "    {:<10.4g} {}\n", d.tensors[i].error.relative(),
          printable(d.tensors[i].name));
  if (shown < d.tensors.size())
    print(Stream::kOut, "    and {} tensors of no larger error; --all lists them\n",
          d.tensors.size() - shown);
  print_names("only in the reference", d.only_reference, all);
  print_names("only in the other", d.only_other, all);
  std::vector<std::string> others;
  for (const auto& one : d.not_compared) others.push_back(one.name + ": " + one.why);
  print_names("not compared", others, all);
  print(Stream::kOut, "\n");
}

// No number of JSON is infinite.
ordered_json number(double value) {
  return std::isfinite(value) ? ordered_json(value) : ordered_json(nullptr);
}

ordered_json total_json(const CheckpointDifference& d, bool linears) {
  const SquaredError& sum = linears ? d.linears : d.others;
  return {{"count", count_of(d, linears)},
          {"values", sum.values},
          {"relative_error", number(sum.relative())}};
}

ordered_json part_json(const PartDiff& diff) {
  const CheckpointDifference& d = diff.difference;
  ordered_json tensors = ordered_json::array(), others = ordered_json::array();
  for (const TensorDifference& tensor : d.tensors)
    tensors.push_back({{"name", tensor.name},
                       {"linear", tensor.is_linear},
                       {"values", tensor.error.values},
                       {"relative_error", number(tensor.error.relative())}});
  for (const auto& one : d.not_compared) others.push_back({{"name", one.name}, {"why", one.why}});
  return {{"part", diff.part},
          {"reference_format", diff.reference_format},
          {"other_format", diff.other_format},
          {"linears", total_json(d, true)},
          {"other_tensors", total_json(d, false)},
          {"tensors", std::move(tensors)},
          {"only_reference", d.only_reference},
          {"only_other", d.only_other},
          {"not_compared", std::move(others)}};
}

Expected<std::vector<PartDiff>> diff_all(const DiffFlags& flags, std::vector<std::string>& lone) {
  INTAGLIO_ASSIGN(const std::vector<Pair> pairs, choose_pairs(flags, lone));
  INTAGLIO_ASSIGN(Context context, host_context(flags.threads));
  context.cancel = &interrupted;
  Progress progress;
  std::vector<PartDiff> diffs;
  for (const Pair& pair : pairs) {
    INTAGLIO_ASSIGN(PartDiff diff, diff_pair(context, pair, progress));
    diffs.push_back(std::move(diff));
  }
  return diffs;
}

}  // namespace

int run_diff(const DiffFlags& flags) {
  std::vector<std::string> lone;
  const Expected<std::vector<PartDiff>> diffs = diff_all(flags, lone);
  if (!diffs) return fail(diffs.error(), flags.json);
  if (!flags.json) {
    for (const PartDiff& diff : *diffs) print_part(diff, flags.all);
    for (const std::string& part : lone)
      print(Stream::kOut, "{}: the other model has no such part\n", part);
    return kExitOk;
  }
  ordered_json parts = ordered_json::array();
  for (const PartDiff& diff : *diffs) parts.push_back(part_json(diff));
  print_json({{"status", "ok"},
              {"reference", flags.reference.string()},
              {"other", flags.other.string()},
              {"parts", std::move(parts)},
              {"lone_parts", lone}});
  return kExitOk;
}

}  // namespace intaglio::cli
