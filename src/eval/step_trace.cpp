#include "eval/step_trace.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/dtype.h"
#include "core/memory.h"
#include "core/relative_error.h"
#include "ops/linear_observer.h"

namespace intaglio {
namespace {

using Texts = PassRunner::Texts;

// Keeps rows of what the linears of a pass write, by transformer and number.
class OutputKeeper : public LinearObserver {
 public:
  explicit OutputKeeper(PassRunner& runner) {
    for (const auto& transformer : runner.transformers()) {
      linears_.push_back(transformer->named_linears());
      for (const NamedLinear& linear : linears_.back())
        places_.emplace(linear.weights, places_.size());
    }
    outputs_.resize(places_.size());
  }

  const std::vector<std::vector<NamedLinear>>& linears() const { return linears_; }
  // Of each linear in the order of `linears`, [rows, columns]; empty if the pass did not run it.
  std::vector<std::vector<float>> take() {
    std::vector<std::vector<float>> taken(outputs_.size());
    taken.swap(outputs_);
    return taken;
  }

  Status after(const Context& context, const LinearWeights& weights,
               const LinearCall& call) override {
    const auto found = places_.find(&weights);
    if (found == places_.end()) return {};
    const size_t row_bytes = static_cast<size_t>(call.ldo) * dtype_size(call.out_dtype);
    const auto columns = static_cast<size_t>(epilogue_columns(call.epilogue, weights.n));
    const int64_t kept = std::min(call.x.rows, kTracedRows);
    std::vector<std::byte> row(columns * dtype_size(call.out_dtype));
    std::vector<float>& output = outputs_[found->second];
    for (int64_t i = 0; i < kept; ++i) {
      const int64_t r = i * call.x.rows / kept;
      INTAGLIO_TRY(
          copy_out(context, row.data(),
                   static_cast<const std::byte*>(call.out) + static_cast<size_t>(r) * row_bytes,
                   row.size()));
      output.resize(output.size() + columns);
      convert_to_f32(row.data(), call.out_dtype, output.data() + output.size() - columns, columns);
    }
    return {};
  }

 private:
  std::vector<std::vector<NamedLinear>> linears_;
  std::map<const LinearWeights*, size_t> places_;
  std::vector<std::vector<float>> outputs_;
};

struct Squares {
  double difference = 0.0, source = 0.0;
};

class Tracer {
 public:
  Tracer(PassRunner& source, const Texts& source_texts, PassRunner& candidate,
         const Texts& candidate_texts)
      : source_(source),
        candidate_(candidate),
        source_texts_(source_texts),
        candidate_texts_(candidate_texts),
        source_outputs_(source),
        candidate_outputs_(candidate) {}

  Expected<StepTrace> run(std::span<const float> noise) {
    INTAGLIO_TRY(check_alike());
    const std::vector<float> times = times_of(source_texts_.sampling);
    INTAGLIO_ASSIGN(PassRunner::Picture source,
                    prepare(source_, source_outputs_, source_texts_, times));
    INTAGLIO_ASSIGN(PassRunner::Picture candidate,
                    prepare(candidate_, candidate_outputs_, candidate_texts_, times));
    INTAGLIO_TRY(add_outputs());
    std::vector<float> x(noise.begin(), noise.end()), own = x;
    for (size_t s = 0; s < times.size(); ++s) {
      const SamplingStep& step = source_texts_.sampling.steps[s];
      const auto number = static_cast<int64_t>(s);
      std::vector<float> velocity(x.size()), there(x.size()), drifted(x.size());
      for (size_t pass = 0; pass < step.weights.size(); ++pass) {
        if (step.weights[pass] == 0.0f) continue;
        INTAGLIO_TRY(observed(source_, source_outputs_, source, pass, number, x));
        add(step.weights[pass], source.velocities[pass], velocity);
        INTAGLIO_TRY(observed(candidate_, candidate_outputs_, candidate, pass, number, x));
        add(step.weights[pass], candidate.velocities[pass], there);
        INTAGLIO_TRY(add_outputs());
        INTAGLIO_TRY(candidate_.forward(candidate, pass, number, own));
        add(step.weights[pass], candidate.velocities[pass], drifted);
      }
      add(-step.delta, velocity, x);
      add(-step.delta, drifted, own);
      trace_.velocity.push_back(relative_error(there, velocity));
      trace_.drift.push_back(relative_error(own, x));
      if (!std::isfinite(trace_.velocity.back()) || !std::isfinite(trace_.drift.back()))
        return make_error(ErrorCode::kUnsupported,
                          "step {} of {} computed values that are not finite (an Inf or a NaN)",
                          s + 1, times.size());
      end_step();
    }
    return std::move(trace_);
  }

 private:
  static void add(float weight, const std::vector<float>& values, std::vector<float>& sum) {
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += weight * values[i];
  }

  Status check_alike() {
    if (times_of(source_texts_.sampling) != times_of(candidate_texts_.sampling) ||
        source_texts_.sampling.passes.size() != candidate_texts_.sampling.passes.size())
      return make_error(ErrorCode::kUnsupported, "their steps differ");
    const auto& ours = source_outputs_.linears();
    const auto& theirs = candidate_outputs_.linears();
    bool alike = ours.size() == theirs.size();
    for (size_t which = 0; alike && which < ours.size(); ++which) {
      alike = std::equal(ours[which].begin(), ours[which].end(), theirs[which].begin(),
                         theirs[which].end(), [](const NamedLinear& a, const NamedLinear& b) {
                           return a.names == b.names && a.rows == b.rows;
                         });
      for (const NamedLinear& linear : ours[which])
        trace_.linears.push_back(
            {std::string(source_.model().transformer_name(static_cast<int>(which))),
             linear.names,
             {}});
    }
    if (!alike) return make_error(ErrorCode::kUnsupported, "their linears differ");
    sums_.assign(trace_.linears.size(), {});
    return {};
  }

  static Expected<PassRunner::Picture> prepare(PassRunner& runner, OutputKeeper& keeper,
                                               const Texts& texts, std::span<const float> times) {
    const ObservedLinears observed(keeper);
    return runner.prepare(texts, times);
  }

  static Status observed(PassRunner& runner, OutputKeeper& keeper, PassRunner::Picture& picture,
                         size_t pass, int64_t step, std::span<const float> latents) {
    const ObservedLinears observed(keeper);
    return runner.forward(picture, pass, step, latents);
  }

  // What both kept of a pass.
  Status add_outputs() {
    const std::vector<std::vector<float>> ours = source_outputs_.take();
    const std::vector<std::vector<float>> theirs = candidate_outputs_.take();
    for (size_t i = 0; i < ours.size(); ++i) {
      if (ours[i].size() != theirs[i].size())
        return make_error(ErrorCode::kUnsupported, "outputs of {} differ in size",
                          trace_.linears[i].names.front());
      for (size_t j = 0; j < ours[i].size(); ++j) {
        const double difference = double{theirs[i][j]} - double{ours[i][j]};
        sums_[i].difference += difference * difference;
        sums_[i].source += double{ours[i][j]} * double{ours[i][j]};
      }
    }
    return {};
  }

  void end_step() {
    for (size_t i = 0; i < sums_.size(); ++i) {
      std::optional<double> error;
      if (sums_[i].source > 0.0) error = std::sqrt(sums_[i].difference / sums_[i].source);
      trace_.linears[i].output.push_back(error);
      sums_[i] = {};
    }
  }

  PassRunner &source_, &candidate_;
  const Texts &source_texts_, &candidate_texts_;
  OutputKeeper source_outputs_, candidate_outputs_;
  std::vector<Squares> sums_;  // of the step at work, by linear
  StepTrace trace_;
};

}  // namespace

Expected<StepTrace> trace_steps(PassRunner& source, const Texts& source_texts,
                                PassRunner& candidate, const Texts& candidate_texts,
                                std::span<const float> noise) {
  return Tracer(source, source_texts, candidate, candidate_texts).run(noise);
}

}  // namespace intaglio
