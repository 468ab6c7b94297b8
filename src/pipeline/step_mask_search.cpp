#include "pipeline/step_mask_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <set>

namespace intaglio {
namespace {

constexpr PassWork kAllWork[] = {PassWork::kCompute, PassWork::kReuse, PassWork::kPredict};

using Key = std::vector<std::vector<PassWork>>;

// Takes the memory of any mask: every pass is computed, reused and predicted by most velocities.
StepMask hungriest_mask(const Sampling& sampling) {
  StepMask mask{.name = "any", .order = StepMask::kMaxOrder, .passes = {}};
  for (size_t pass = 0; pass < sampling.passes.size(); ++pass) {
    std::vector<PassWork> work(sampling.steps.size(), PassWork::kPredict);
    const std::vector<size_t> steps = active_steps(sampling, pass);
    if (!steps.empty()) work[steps.front()] = PassWork::kCompute;
    if (steps.size() > 1) work[steps[1]] = PassWork::kReuse;
    mask.passes.push_back(std::move(work));
  }
  return mask;
}

class Search {
 public:
  Search(MaskJudge& judge, std::span<const int64_t> blocks, const MaskSearch& options)
      : judge_(judge), options_(options), blocks_(blocks), random_(options.seed) {
    for (size_t pass = 0; pass < judge.sampling().passes.size(); ++pass)
      steps_.push_back(active_steps(judge.sampling(), pass));
    for (const std::vector<size_t>& steps : steps_) all_ += steps.size();
  }

  Expected<FoundMask> run() {
    INTAGLIO_TRY(check_budget());
    Status searched = try_families();
    if (searched) searched = anneal();
    const bool cancelled = !searched && searched.error().code == ErrorCode::kCancelled;
    if (!searched && (!cancelled || !best_)) return tl::unexpected<Error>(searched.error());
    FoundMask found{.mask = *best_, .evaluations = evaluated_, .cancelled = cancelled};
    found.mask.error = best_error_;
    return found;
  }

 private:
  Status check_budget() const {
    for (const Pass& pass : judge_.sampling().passes) {
      const int64_t blocks = blocks_[static_cast<size_t>(pass.transformer)];
      if (options_.first_blocks >= blocks)
        return make_error(ErrorCode::kInvalidArgument,
                          "the first {} blocks of a reused pass: a pass has {}, expected fewer",
                          options_.first_blocks, blocks);
    }
    size_t least = 0;
    for (const std::vector<size_t>& steps : steps_) least += std::min<size_t>(2, steps.size());
    if (options_.budget < 1.0 && computed_passes() >= least) return {};
    return make_error(ErrorCode::kInvalidArgument,
                      "a budget of {:g} of {} passes: expected at least {} of them and less than "
                      "all",
                      options_.budget, all_, least);
  }
  size_t computed_passes() const {
    return static_cast<size_t>(options_.budget * static_cast<double>(all_) + 1e-6);
  }

  // Spread masks: how the passes share the budget, how many of its steps come first, and by what
  // order the others are predicted.
  Status try_families() {
    for (const double share : {1.0, 0.8, 1.25})
      for (const double dense : {0.5, 0.3, 0.7, 0.0})
        for (const int64_t order : {int64_t{1}, int64_t{0}, int64_t{2}}) {
          if (best_ && evaluated_ >= options_.evaluations / 2) return {};
          StepMask mask{.first_blocks = options_.first_blocks, .order = order, .passes = {}};
          // Of the first pass, against an equal share; the others take what is left.
          size_t left = computed_passes(), steps_left = all_;
          for (size_t pass = 0; pass < steps_.size(); ++pass) {
            const size_t steps = steps_[pass].size();
            const double part = static_cast<double>(left) * static_cast<double>(steps) /
                                static_cast<double>(std::max<size_t>(1, steps_left));
            auto count = static_cast<size_t>(std::lround(pass == 0 ? part * share : part));
            count = std::clamp(count, std::min<size_t>(2, steps), steps);
            mask.passes.push_back(
                spread_work(judge_.sampling().steps.size(), steps_[pass], count, dense));
            left -= std::min(left, count);
            steps_left -= steps;
          }
          INTAGLIO_TRY(judge(mask));
        }
    return {};
  }

  // From the best so far, a change at a time; a worse mask is taken with a chance that shrinks.
  Status anneal() {
    if (!best_)
      return make_error(ErrorCode::kInvalidArgument, "no mask within a budget of {:g}",
                        options_.budget);
    StepMask at = *best_;
    double error = best_error_;
    const int64_t first = evaluated_;
    while (evaluated_ < options_.evaluations) {
      const double part = static_cast<double>(evaluated_ - first) /
                          static_cast<double>(options_.evaluations - first);
      const std::optional<StepMask> next = neighbour(at);
      if (!next) return {};
      INTAGLIO_ASSIGN(const double its, judge(*next));
      constexpr double kHeat = 0.2;  // of the error, in the beginning
      const double heat = kHeat * (1.0 - part) * error + 1e-12;
      if (its <= error || uniform() < std::exp((error - its) / heat)) {
        at = *next;
        error = its;
      }
      if (its > 2.0 * best_error_) {  // astray
        at = *best_;
        error = best_error_;
      }
    }
    return {};
  }

  // A mask within the budget that has not been judged; nullopt: none was found.
  std::optional<StepMask> neighbour(const StepMask& from) {
    constexpr int kTries = 1000;
    for (int i = 0; i < kTries; ++i) {
      StepMask mask = from;
      for (int changes = 1 + pick(3); changes > 0; --changes) change(mask);
      if (check_step_mask(mask, judge_.sampling()) && fits(mask) && !seen_.contains(key(mask)))
        return mask;
    }
    return std::nullopt;
  }

  bool fits(const StepMask& mask) const {
    return mask.cost(judge_.sampling(), blocks_) <= options_.budget + 1e-9;
  }

  void change(StepMask& mask) {
    constexpr int kKinds = 8;
    const auto pass = static_cast<size_t>(pick(static_cast<int>(mask.passes.size())));
    if (steps_[pass].empty()) return;
    PassWork& a = at(mask, pass);
    switch (pick(kKinds)) {
      case 0:
        a = kAllWork[pick(3)];
        return;
      case 1:
        std::swap(a, at(mask, static_cast<size_t>(pick(static_cast<int>(mask.passes.size())))));
        return;
      case 2:
        mask.order = pick(static_cast<int>(StepMask::kMaxOrder) + 1);
        return;
      case 3:
      case 4:
      case 5: {
        // To the step beside it.
        const auto i = static_cast<size_t>(pick(static_cast<int>(steps_[pass].size())));
        const size_t j = std::min(i + 1, steps_[pass].size() - 1);
        std::swap(mask.passes[pass][steps_[pass][i]], mask.passes[pass][steps_[pass][j]]);
        return;
      }
      default:
        std::swap(a, at(mask, pass));
    }
  }

  PassWork& at(StepMask& mask, size_t pass) {
    const std::vector<size_t>& steps = steps_[pass];
    if (steps.empty()) return mask.passes[pass].front();
    return mask.passes[pass][steps[static_cast<size_t>(pick(static_cast<int>(steps.size())))]];
  }

  static std::pair<Key, int64_t> key(const StepMask& mask) { return {mask.passes, mask.order}; }

  Expected<double> judge(const StepMask& mask) {
    if (!fits(mask) || !seen_.insert(key(mask)).second) return best_error_ * 2.0;
    if (options_.progress) options_.progress(evaluated_, best_ ? best_error_ : 0.0);
    INTAGLIO_ASSIGN(double error, judge_.error(mask));
    if (!std::isfinite(error)) error = std::numeric_limits<double>::max();
    ++evaluated_;
    if (!best_ || error < best_error_) {
      best_ = mask;
      best_error_ = error;
    }
    return error;
  }

  int pick(int count) { return std::uniform_int_distribution<int>(0, count - 1)(random_); }
  double uniform() { return std::uniform_real_distribution<double>(0.0, 1.0)(random_); }

  MaskJudge& judge_;
  const MaskSearch& options_;
  std::span<const int64_t> blocks_;  // by transformer
  std::vector<std::vector<size_t>> steps_;
  size_t all_ = 0;  // passes that have a weight
  std::mt19937_64 random_;
  std::set<std::pair<Key, int64_t>> seen_;
  std::optional<StepMask> best_;
  double best_error_ = 0.0;
  int64_t evaluated_ = 0;
};

}  // namespace

Status MaskJudge::begin() {
  whole_.clear();
  plans_.clear();
  for (PictureRequest& request : requests_) {
    request.decode = false;
    request.mask.reset();
    request.cache.clear();
    INTAGLIO_ASSIGN(const PicturePlan plan, pipeline_.plan(request));
    INTAGLIO_ASSIGN(Picture picture, pipeline_.generate(plan, {}, cancel_));
    whole_.push_back(std::move(picture.latents));
    // Behind the first picture, which has loaded what later ones find.
    request.mask = hungriest_mask(plan.sampling);
    INTAGLIO_ASSIGN(PicturePlan for_masks, pipeline_.plan(request));
    plans_.push_back(std::move(for_masks));
  }
  return {};
}

Expected<double> MaskJudge::error(const StepMask& mask) {
  INTAGLIO_TRY(check_step_mask(mask, sampling()));
  double sum = 0.0;
  for (size_t i = 0; i < plans_.size(); ++i) {
    plans_[i].sampling.mask = mask;
    INTAGLIO_ASSIGN(const Picture picture, pipeline_.generate(plans_[i], {}, cancel_));
    const std::vector<float>& latents = picture.latents;
    double difference = 0.0, norm = 0.0;
    for (size_t j = 0; j < latents.size(); ++j) {
      const double whole = whole_[i][j];
      difference += (latents[j] - whole) * (latents[j] - whole);
      norm += whole * whole;
    }
    sum += difference / norm;
  }
  return std::sqrt(sum / static_cast<double>(plans_.size()));
}

Expected<FoundMask> search_step_mask(MaskJudge& judge, std::span<const int64_t> blocks,
                                     const MaskSearch& search) {
  return Search(judge, blocks, search).run();
}

}  // namespace intaglio
