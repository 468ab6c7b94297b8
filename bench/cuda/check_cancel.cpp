// How long a picture on a GPU takes to stop: the full-size model with random weights, asked to stop
// in each phase and at several moments of a step.
//
// check_cancel WIDTH HEIGHT PRECISION [--json FILE]: exit status 0 if every call returned, and the
// device had nothing left to do, within 0.5 s.
#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <fstream>
#include <mutex>
#include <string>
#include <thread>

#include "core/memory.h"
#include "models/registry.h"
#include "pipeline/pipeline.h"

namespace intaglio {
namespace {

using Clock = std::chrono::steady_clock;
constexpr double kMostSeconds = 0.5;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Asked to stop `after` seconds past the first report of `phase` with `done` steps behind it.
struct Moment {
  Phase phase;
  int64_t done;
  double after;
  const char* name;
};

struct Outcome {
  double returned = 0.0;  // seconds from the call to stop to the return of generate
  double drained = 0.0;   // to the end of all that the device had been given
  bool cancelled = false;
  std::string message;
};

struct Stopper {
  std::atomic<bool> flag = false;
  std::mutex mutex;
  std::condition_variable changed;
  bool reached = false;
  Clock::time_point asked;

  void wait_and_stop(double after) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return reached; });
    lock.unlock();
    std::this_thread::sleep_for(std::chrono::duration<double>(after));
    asked = Clock::now();
    flag = true;
  }
  void reach() {
    const std::scoped_lock lock(mutex);
    reached = true;
    changed.notify_all();
  }
};

Outcome stop_at(Pipeline& pipeline, const PictureRequest& request, const Moment& moment) {
  Outcome outcome;
  Stopper stopper;
  std::thread thread([&] { stopper.wait_and_stop(moment.after); });
  const auto picture = pipeline.generate(
      request,
      [&](const PictureProgress& p) {
        if (p.phase == moment.phase && p.done >= moment.done) stopper.reach();
      },
      &stopper.flag);
  const auto returned = Clock::now();
  const Status drained = synchronize(pipeline.context());
  outcome.drained = seconds_since(returned);
  stopper.reach();
  thread.join();
  outcome.returned = std::chrono::duration<double>(returned - stopper.asked).count();
  outcome.drained += outcome.returned;
  outcome.cancelled = !picture && picture.error().code == ErrorCode::kCancelled && drained;
  if (!picture) outcome.message = picture.error().message;
  return outcome;
}

int run(int64_t width, int64_t height, Precision precision, const std::string& json) {
  const auto model = synthetic_model("ideogram4");
  if (!model) return 1;
  PipelineOptions options;
  options.selection.precision = precision;
  options.gpu = 0;
  PictureRequest request;
  request.prompt = std::string(1500, 'a');
  request.width = width;
  request.height = height;
  request.steps = 6;
  request.guidance.assign(6, 7.0f);
  request.seed = 1;
  constexpr Moment kMoments[] = {
      {Phase::kLoadText, 0, 0.05, "loading the text encoder"},
      {Phase::kLoadTransformers, 0, 0.4, "loading the transformers"},
      {Phase::kDenoise, 0, 0.02, "the first step, at its beginning"},
      {Phase::kDenoise, 0, 0.3, "the first step, 0.3 s later"},
      {Phase::kDenoise, 2, 0.01, "a later step, at its beginning"},
      {Phase::kDenoise, 2, 0.25, "a later step, 0.25 s later"},
      {Phase::kDecode, 1, 0.01, "the decoder"},
  };
  int failed = 0;
  std::string cases;
  auto pipeline = Pipeline::open(*model, options);
  for (const Moment& moment : kMoments) {
    if (!pipeline) {
      fmt::print("{}\n", pipeline.error().message);
      return 1;
    }
    const Outcome o = stop_at(**pipeline, request, moment);
    const bool good = o.cancelled && o.drained <= kMostSeconds;
    failed += good ? 0 : 1;
    fmt::print("{:<8}{:<36} returned after {:.3f} s, device idle after {:.3f} s{}\n",
               good ? "ok" : "FAILED", moment.name, o.returned, o.drained,
               o.cancelled ? "" : "  " + o.message);
    std::fflush(stdout);
    cases += fmt::format(
        "{}\n  {{\"moment\": \"{}\", \"returned_s\": {:.4f}, \"drained_s\": {:.4f}, \"ok\": {}}}",
        cases.empty() ? "" : ",", moment.name, o.returned, o.drained, good);
  }
  if (!json.empty())
    std::ofstream(json) << fmt::format(
        "{{\"width\": {}, \"height\": {}, \"precision\": \"{}\", \"failed\": {}, \"moments\": "
        "[{}\n]}}\n",
        width, height, precision_name(precision), failed, cases);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace intaglio

int main(int argc, char** argv) {
  const auto precision =
      argc > 3 ? intaglio::precision_from_name(argv[3]) : std::optional<intaglio::Precision>{};
  if (!precision) {
    fmt::print(stderr, "usage: check_cancel WIDTH HEIGHT PRECISION [--json FILE]\n");
    return 2;
  }
  return intaglio::run(std::stoll(argv[1]), std::stoll(argv[2]), *precision,
                       argc > 5 ? argv[5] : "");
}
