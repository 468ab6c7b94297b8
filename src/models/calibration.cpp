#include "models/calibration.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/parallel_tasks.h"
#include "core/philox.h"
#include "models/pass_runner.h"
#include "ops/euler_step.h"
#include "ops/linear_observer.h"

namespace intaglio {
namespace {

// Relative to the root mean square of an output: far above what rounding to bf16 does to a velocity
// by itself, where errors still add up like small ones.
constexpr double kDisturbance = 0.1;

// What a row draws its place with: linears of the same rows keep the same ones.
uint64_t draw(uint64_t row) {
  const auto words =
      philox4x32({static_cast<uint32_t>(row), static_cast<uint32_t>(row >> 32), 0, 0}, {0, 0});
  return uint64_t{words[0]} << 32 | words[1];
}

using LinearIndex = std::map<const LinearWeights*, CalibratedLinear*>;

// Keeps the figures of what linears read.
class Recorder : public LinearObserver {
 public:
  Recorder(const LinearIndex& index, int64_t rows) : index_(index), rows_(rows) {}

  Status before(const Context& context, const LinearWeights& weights,
                const LinearCall& call) override {
    const auto found = index_.find(&weights);
    if (found == index_.end()) return {};
    CalibratedLinear& linear = *found->second;
    const Activation& x = call.x;
    const int64_t k = linear.linear.k;
    const size_t row_bytes = static_cast<size_t>(x.cols) * dtype_size(x.dtype);
    values_.resize(static_cast<size_t>(x.rows * x.cols));
    INTAGLIO_TRY(parallel_tasks(context, x.rows, 16, [&](int64_t begin, int64_t end, int) {
      convert_to_f32(x.as<std::byte>() + static_cast<size_t>(begin) * row_bytes, x.dtype,
                     values_.data() + begin * x.cols, static_cast<size_t>((end - begin) * x.cols));
    }));
    float* const absmax = linear.absmax.data();
    INTAGLIO_TRY(parallel_tasks(context, k, 256, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = 0; r < x.rows; ++r)
        for (int64_t c = begin; c < end; ++c)
          absmax[c] = std::max(absmax[c], std::fabs(values_[static_cast<size_t>(r * x.cols + c)]));
    }));
    for (int64_t r = 0; r < x.rows; ++r) keep(linear, values_.data() + r * x.cols);
    return {};
  }

 private:
  // Vitter's algorithm R: of all rows up to this one each is among the kept with equal chances.
  void keep(CalibratedLinear& linear, const float* row) const {
    const auto k = static_cast<size_t>(linear.linear.k);
    const auto seen = static_cast<uint64_t>(linear.seen++);
    auto place = static_cast<uint64_t>(linear.kept);
    if (linear.kept < rows_) {
      ++linear.kept;
      linear.rows.resize(static_cast<size_t>(linear.kept) * k);
    } else {
      place = draw(seen) % (seen + 1);
      if (place >= static_cast<uint64_t>(rows_)) return;
    }
    std::copy_n(row, k, linear.rows.data() + place * k);
  }

  const LinearIndex& index_;
  int64_t rows_;
  std::vector<float> values_;  // of a call
};

// Adds noise to what one linear writes.
class Disturbance : public LinearObserver {
 public:
  explicit Disturbance(const LinearWeights* weights) : weights_(weights) {}

  Status after(const Context&, const LinearWeights& weights, const LinearCall& call) override {
    if (&weights != weights_) return {};
    const int64_t cols = weights.out_cols();
    const size_t element = dtype_size(call.out_dtype);
    std::vector<float> row(static_cast<size_t>(cols)), noise(row);
    for (int64_t r = 0; r < call.x.rows; ++r) {
      std::byte* const at =
          static_cast<std::byte*>(call.out) + static_cast<size_t>(r * call.ldo) * element;
      convert_to_f32(at, call.out_dtype, row.data(), row.size());
      double squares = 0.0;
      for (const float value : row) squares += double{value} * double{value};
      const auto scale =
          static_cast<float>(kDisturbance * std::sqrt(squares / static_cast<double>(cols)));
      fill_normal(static_cast<uint64_t>(r), noise.data(), cols);
      for (size_t c = 0; c < row.size(); ++c) row[c] += scale * noise[c];
      if (call.out_dtype == DType::kF32) {
        std::copy(row.begin(), row.end(), reinterpret_cast<float*>(at));
      } else {
        std::transform(row.begin(), row.end(), reinterpret_cast<BFloat16*>(at),
                       [](float value) { return BFloat16(value); });
      }
    }
    return {};
  }

 private:
  const LinearWeights* weights_;
};

double norm_of(std::span<const float> values) {
  double squares = 0.0;
  for (const float value : values) squares += double{value} * double{value};
  return std::sqrt(squares);
}

class Run {
 public:
  Run(const Context& context, const Model& model, const CalibrationOptions& options,
      const CalibrationProgress& progress)
      : model_(model),
        options_(options),
        progress_(progress),
        runner_(context, model, {.selection = {.precision = options.precision}}) {}

  Expected<Calibration> calibrate() {
    INTAGLIO_TRY(load());
    for (size_t i = 0; i < pictures_.size(); ++i) INTAGLIO_TRY(draw_picture(i));
    INTAGLIO_TRY(measure_gains());
    for (auto& linears : calibration_.transformers)
      for (CalibratedLinear& one : linears) one.linear.weights = nullptr;
    return std::move(calibration_);
  }

 private:
  Expected<std::vector<PictureRequest>> requests() const {
    if (options_.prompts.empty())
      return make_error(ErrorCode::kInvalidArgument, "calibration: there are no prompts");
    if (options_.rows < 1)
      return make_error(ErrorCode::kInvalidArgument, "calibration: {} rows, expected at least 1",
                        options_.rows);
    const ModelInfo& info = model_.info();
    std::vector<PictureRequest> requests;
    for (const std::string& prompt : options_.prompts) {
      requests.push_back({.prompt = prompt,
                          .negative_prompt = {},
                          .token_ids = {},
                          .width = options_.width,
                          .height = options_.height,
                          .steps = options_.steps,
                          .guidance = info.default_guidance.of_steps(options_.steps),
                          .mu = info.default_mu,
                          .std = info.default_std,
                          .max_sequence_length = {},
                          .noise = {}});
    }
    return requests;
  }

  Status load() {
    INTAGLIO_ASSIGN(const std::vector<PictureRequest> requests, requests());
    auto pictures = runner_.load(requests);
    if (!pictures) {
      Error error = pictures.error();
      if (error.code == ErrorCode::kInvalidArgument)
        error.message = "calibration: " + error.message;
      return tl::unexpected<Error>(std::move(error));
    }
    pictures_ = std::move(*pictures);
    calibration_.transformers.resize(runner_.transformers().size());
    for (size_t which = 0; which < calibration_.transformers.size(); ++which) {
      auto& linears = calibration_.transformers[which];
      for (NamedLinear& named : runner_.transformers()[which]->named_linears()) {
        const auto k = static_cast<size_t>(named.k);
        linears.push_back(
            {.linear = std::move(named), .absmax = std::vector<float>(k), .rows = {}});
      }
      for (CalibratedLinear& one : linears) index_.emplace(one.linear.weights, &one);
    }
    for (const PassRunner::Texts& picture : pictures_)
      all_passes_ += options_.steps * static_cast<int64_t>(picture.sampling.passes.size());
    // A gain takes a pass, and all of them those that they are measured against.
    all_passes_ += static_cast<int64_t>(pictures_.front().sampling.passes.size());
    for (const auto& linears : calibration_.transformers)
      all_passes_ += static_cast<int64_t>(linears.size());
    return {};
  }

  Status forward(PassRunner::Picture& picture, size_t pass, int64_t step,
                 std::span<const float> latents) {
    progress_(done_passes_++, all_passes_);
    return runner_.forward(picture, pass, step, latents);
  }

  std::vector<float> noise(size_t picture) const {
    const PassRunner::Texts& texts = pictures_[picture];
    const int64_t count = texts.grid_h * texts.grid_w * model_.info().latent_channels;
    std::vector<float> values(static_cast<size_t>(count));
    fill_normal(options_.seed + picture, values.data(), count);
    return values;
  }

  // All passes of a step see the latents that the weighted sum of the velocities moves. A limit on
  // guided velocities, which no model has by default, is passed over.
  Status draw_picture(size_t which) {
    const PassRunner::Texts& texts = pictures_[which];
    Recorder recorder(index_, options_.rows);
    const ObservedLinears observed(recorder);
    const std::vector<float> times = times_of(texts.sampling);
    INTAGLIO_ASSIGN(PassRunner::Picture picture, runner_.prepare(texts, times));
    std::vector<float> latents = noise(which);
    for (size_t s = 0; s < times.size(); ++s) {
      const SamplingStep& step = texts.sampling.steps[s];
      std::vector<WeightedVelocity> velocities;
      for (size_t p = 0; p < picture.sessions.size(); ++p) {
        INTAGLIO_TRY(forward(picture, p, static_cast<int64_t>(s), latents));
        velocities.push_back({picture.velocities[p].data(), step.weights[p]});
      }
      // Where gains are measured.
      if (which == 0 && s == times.size() / 2) middle_ = latents;
      uint32_t not_finite = 0;
      INTAGLIO_TRY(euler_step(runner_.context(), {.x = latents.data(),
                                                  .count = static_cast<int64_t>(latents.size()),
                                                  .passes = velocities,
                                                  .delta = step.delta,
                                                  .not_finite = &not_finite}));
      if (not_finite != 0) {
        return make_error(ErrorCode::kUnsupported,
                          "calibration: step {} of {} computed values that are not finite (an Inf "
                          "or a NaN)",
                          s + 1, times.size());
      }
    }
    return {};
  }

  // Of every linear of the transformers that the first picture's passes run, at its middle step.
  Status measure_gains() {
    const PassRunner::Texts& texts = pictures_.front();
    const SamplingStep& step = texts.sampling.steps[texts.sampling.steps.size() / 2];
    const std::span<const float> time(&step.time, 1);
    INTAGLIO_ASSIGN(PassRunner::Picture picture, runner_.prepare(texts, time));
    std::vector<float> velocity(middle_.size());
    for (size_t p = 0; p < picture.sessions.size(); ++p) {
      INTAGLIO_TRY(forward(picture, p, 0, middle_));
      for (size_t i = 0; i < velocity.size(); ++i)
        velocity[i] += step.weights[p] * picture.velocities[p][i];
    }
    const double whole = norm_of(velocity);
    std::vector<bool> measured(runner_.transformers().size());
    for (size_t p = 0; p < picture.sessions.size(); ++p) {
      const auto which = static_cast<size_t>(texts.sampling.passes[p].transformer);
      if (measured[which]) continue;
      measured[which] = true;
      const std::vector<float> undisturbed = picture.velocities[p];
      for (CalibratedLinear& one : calibration_.transformers[which]) {
        Disturbance disturbance(one.linear.weights);
        const ObservedLinears observed(disturbance);
        INTAGLIO_TRY(runner_.prepare_pass(picture, p, time));
        INTAGLIO_TRY(forward(picture, p, 0, middle_));
        std::vector<float>& change = picture.velocities[p];
        for (size_t i = 0; i < change.size(); ++i) change[i] -= undisturbed[i];
        const double moved = std::fabs(double{step.weights[p]}) * norm_of(change);
        one.gain = whole > 0.0 ? moved / whole / kDisturbance : 0.0;
      }
    }
    progress_(all_passes_, all_passes_);
    return {};
  }

  const Model& model_;
  const CalibrationOptions& options_;
  const CalibrationProgress& progress_;
  PassRunner runner_;
  int64_t done_passes_ = 0, all_passes_ = 0;
  std::vector<PassRunner::Texts> pictures_;
  LinearIndex index_;
  std::vector<float> middle_;  // latents of the first picture half-way
  Calibration calibration_;
};

}  // namespace

Expected<Calibration> calibrate(const Context& context, const Model& model,
                                const CalibrationOptions& options,
                                const CalibrationProgress& progress) {
  if (context.gpu != nullptr)
    return make_error(ErrorCode::kUnsupported, "calibration runs on the CPU");
  return Run(context, model, options, progress).calibrate();
}

}  // namespace intaglio
