#include "models/step_mask.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "io/printable.h"
#include "models/model.h"
#include "ops/euler_step.h"

namespace intaglio {
namespace {

constexpr char kComputed = 'X', kReused = 'r', kPredicted = '.';
constexpr int64_t kMaxBlocks = 1 << 10;

Expected<StepMask> read_step_mask(const nlohmann::json& json, const std::string& where) {
  INTAGLIO_ASSIGN(const JsonConfig config, JsonConfig::parse(json.dump(), where));
  StepMask mask;
  INTAGLIO_ASSIGN(mask.name, config.string_or("name", ""));
  INTAGLIO_ASSIGN(mask.preset, config.string_or("preset", ""));
  INTAGLIO_ASSIGN(mask.error, config.number_or("error", 0.0));
  INTAGLIO_ASSIGN(mask.first_blocks, config.integer_or("first_blocks", 1, 1, kMaxBlocks));
  INTAGLIO_ASSIGN(mask.order, config.integer_or("order", 1, 0, StepMask::kMaxOrder));
  if (mask.name.empty())
    return make_error(ErrorCode::kBadFormat, "{}name: expected a mask's name", config.where());
  const auto passes = json.find("passes");
  if (passes == json.end() || !passes->is_array() || passes->empty() || passes->size() > kMaxPasses)
    return make_error(ErrorCode::kBadFormat, "{}passes: expected 1 to {} strings of X, r and .",
                      config.where(), kMaxPasses);
  for (const nlohmann::json& pass : *passes) {
    if (!pass.is_string())
      return make_error(ErrorCode::kBadFormat, "{}passes: expected strings of X, r and .",
                        config.where());
    INTAGLIO_ASSIGN(std::vector<PassWork> work, parse_pass_work(pass.get<std::string>()));
    if (work.empty() || (!mask.passes.empty() && work.size() != mask.passes.front().size()))
      return make_error(ErrorCode::kBadFormat, "{}passes: expected one letter a step for each pass",
                        config.where());
    mask.passes.push_back(std::move(work));
  }
  return mask;
}

// Passes computed, by pass.
std::vector<double> passes_by(const StepMask* mask, const Sampling& sampling,
                              std::span<const int64_t> blocks) {
  std::vector<double> passes;
  for (const PassCounts& counts : pass_counts(sampling, mask)) {
    const auto transformer = static_cast<size_t>(sampling.passes[passes.size()].transformer);
    passes.push_back(counts.passes(mask == nullptr ? 1 : mask->first_blocks, blocks[transformer]));
  }
  return passes;
}

}  // namespace

std::vector<size_t> active_steps(const Sampling& sampling, size_t pass) {
  std::vector<size_t> steps;
  for (size_t s = 0; s < sampling.steps.size(); ++s)
    if (sampling.steps[s].weights[pass] != 0.0f) steps.push_back(s);
  return steps;
}

bool StepMask::uses(size_t pass, PassWork work) const {
  return std::find(passes[pass].begin(), passes[pass].end(), work) != passes[pass].end();
}

bool StepMask::uses(PassWork work) const {
  for (size_t pass = 0; pass < passes.size(); ++pass)
    if (uses(pass, work)) return true;
  return false;
}

double PassCounts::passes(int64_t first_blocks, int64_t blocks) const {
  const double reused_cost =
      std::min(1.0, static_cast<double>(first_blocks) / static_cast<double>(blocks));
  return static_cast<double>(computed) + reused_cost * static_cast<double>(reused);
}

std::vector<PassCounts> pass_counts(const Sampling& sampling, const StepMask* mask) {
  std::vector<PassCounts> counts(sampling.passes.size());
  for (size_t pass = 0; pass < counts.size(); ++pass) {
    for (const size_t step : active_steps(sampling, pass)) {
      const PassWork work = mask == nullptr ? PassWork::kCompute : mask->passes[pass][step];
      ++(work == PassWork::kCompute ? counts[pass].computed
         : work == PassWork::kReuse ? counts[pass].reused
                                    : counts[pass].predicted);
    }
  }
  return counts;
}

std::vector<double> computed_passes(const Sampling& sampling, std::span<const int64_t> blocks) {
  return passes_by(sampling.mask ? &*sampling.mask : nullptr, sampling, blocks);
}

double StepMask::cost(const Sampling& sampling, std::span<const int64_t> blocks) const {
  double cost = 0.0, all = 0.0;
  for (const double passes : passes_by(this, sampling, blocks)) cost += passes;
  for (const PassCounts& counts : pass_counts(sampling, this))
    all += static_cast<double>(counts.all());
  return all > 0.0 ? cost / all : 1.0;
}

double computed_share(const Sampling& sampling, std::span<const int64_t> blocks) {
  return sampling.mask ? sampling.mask->cost(sampling, blocks) : 1.0;
}

Expected<std::vector<PassWork>> parse_pass_work(std::string_view text) {
  std::vector<PassWork> work;
  for (const char letter : text) {
    if (letter != kComputed && letter != kReused && letter != kPredicted)
      return make_error(ErrorCode::kBadFormat,
                        "passes of a mask: expected X (computed), r (reused) and . (predicted), "
                        "found \"{}\"",
                        printable(text, 60));
    work.push_back(letter == kComputed ? PassWork::kCompute
                   : letter == kReused ? PassWork::kReuse
                                       : PassWork::kPredict);
  }
  return work;
}

std::string pass_work_text(std::span<const PassWork> work) {
  std::string text;
  for (const PassWork of_step : work)
    text += of_step == PassWork::kCompute ? kComputed
            : of_step == PassWork::kReuse ? kReused
                                          : kPredicted;
  return text;
}

std::vector<std::string> pass_work_texts(const StepMask& mask) {
  std::vector<std::string> texts;
  for (const std::vector<PassWork>& work : mask.passes) texts.push_back(pass_work_text(work));
  return texts;
}

Status check_step_mask(const StepMask& mask, const Sampling& sampling) {
  if (mask.passes.size() != sampling.passes.size() ||
      mask.steps() != static_cast<int64_t>(sampling.steps.size())) {
    return make_error(ErrorCode::kInvalidArgument,
                      "cache: the mask \"{}\" is for {} steps of {} passes, the picture has {} of "
                      "{}",
                      printable(mask.name, 60), mask.steps(), mask.passes.size(),
                      sampling.steps.size(), sampling.passes.size());
  }
  for (size_t pass = 0; pass < mask.passes.size(); ++pass) {
    const std::vector<size_t> steps = active_steps(sampling, pass);
    if (!steps.empty() && mask.passes[pass][steps.front()] != PassWork::kCompute)
      return make_error(ErrorCode::kInvalidArgument,
                        "cache: the mask \"{}\" does not compute pass {} in its first step, {}",
                        printable(mask.name, 60), pass + 1, steps.front() + 1);
  }
  return {};
}

std::vector<PassWork> spread_work(size_t all, std::span<const size_t> steps, size_t count,
                                  double dense) {
  std::vector<PassWork> work(all, PassWork::kPredict);
  const auto first = static_cast<size_t>(std::lround(dense * static_cast<double>(count)));
  const size_t rest = count - std::min(first, count);
  for (size_t i = 0; i < count - rest; ++i) work[steps[i]] = PassWork::kCompute;
  const size_t left = steps.size() - (count - rest);
  for (size_t i = 0; i < rest; ++i) {
    // Of the steps that are left, the last among them; all of them where none came before.
    const size_t at = first > 0  ? (i + 1) * left / rest - 1
                      : rest > 1 ? i * (left - 1) / (rest - 1)
                                 : 0;
    work[steps[count - rest + at]] = PassWork::kCompute;
  }
  return work;
}

StepMask spread_step_mask(const Sampling& sampling, double budget, int64_t order, double dense) {
  StepMask mask{.name = fmt::format("spread-{:g}", budget), .order = order, .passes = {}};
  for (size_t pass = 0; pass < sampling.passes.size(); ++pass) {
    const std::vector<size_t> steps = active_steps(sampling, pass);
    const auto most = static_cast<size_t>(budget * static_cast<double>(steps.size()));
    mask.passes.push_back(spread_work(sampling.steps.size(), steps,
                                      std::min(steps.size(), std::max<size_t>(2, most)), dense));
  }
  return mask;
}

Expected<std::optional<StepMask>> choose_step_mask(std::span<const StepMask> masks,
                                                   const Sampling& sampling,
                                                   std::span<const int64_t> blocks,
                                                   std::string_view cache) {
  constexpr double kClose = 0.1;
  if (cache.empty() || cache == "off") return std::nullopt;
  std::vector<StepMask> fitting;
  std::vector<std::string> names;
  for (const StepMask& mask : masks) {
    names.push_back(fmt::format("{} ({} steps)", mask.name, mask.steps()));
    if (check_step_mask(mask, sampling)) fitting.push_back(mask);
  }
  double budget = 0.0;
  const auto [end, error] = std::from_chars(cache.data(), cache.data() + cache.size(), budget);
  if (error == std::errc() && end == cache.data() + cache.size() && budget > 0.0 && budget < 1.0) {
    std::optional<StepMask> best;
    double best_cost = budget - kClose;
    for (const StepMask& mask : fitting) {
      const double cost = mask.cost(sampling, blocks);
      if (cost > budget || cost <= best_cost) continue;
      best = mask;
      best_cost = cost;
    }
    return best ? best : spread_step_mask(sampling, budget);
  }
  for (const StepMask& mask : fitting)
    if (mask.name == cache) return mask;
  return make_error(
      ErrorCode::kInvalidArgument,
      "cache: expected off, a share of the passes between 0 and 1, or a mask of the model for {} "
      "steps; found \"{}\", the model has {}",
      sampling.steps.size(), printable(cache, 60),
      names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")));
}

Expected<std::vector<StepMask>> read_step_masks(const JsonConfig& file) {
  constexpr size_t kMostMasks = 1000;
  const auto list = file.json().find("masks");
  if (list == file.json().end() || !list->is_array() || list->size() > kMostMasks)
    return make_error(ErrorCode::kBadFormat, "{}masks: expected a list of at most {} masks",
                      file.where(), kMostMasks);
  std::vector<StepMask> masks;
  for (const nlohmann::json& json : *list) {
    INTAGLIO_ASSIGN(StepMask mask,
                    read_step_mask(json, fmt::format("{}masks[{}]", file.where(), masks.size())));
    masks.push_back(std::move(mask));
  }
  return masks;
}

std::string step_masks_text(std::span<const StepMask> masks) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const StepMask& mask : masks) {
    list.push_back({{"name", mask.name},
                    {"steps", mask.steps()},
                    {"passes", pass_work_texts(mask)},
                    {"first_blocks", mask.first_blocks},
                    {"order", mask.order},
                    {"preset", mask.preset},
                    {"error", mask.error}});
  }
  return nlohmann::ordered_json{{"masks", std::move(list)}}.dump(1) + "\n";
}

}  // namespace intaglio
