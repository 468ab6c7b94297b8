// Draws one picture with the C++ wrapper of libintaglio:
//
//   generate_picture_cpp MODEL PROMPT OUTPUT.png [WIDTH HEIGHT STEPS SEED]
//
// Ctrl-C stops it within a layer's time.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <intaglio/intaglio.hpp>

namespace {

namespace api = intaglio::api;

api::Model* running = nullptr;

// cancel() is made for signal handlers.
void stop(int) { running->cancel(); }

int failed(const api::Result& result) {
  std::fprintf(stderr, "%s: %s\n", result.name(), result.message.c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 8) {
    std::fprintf(stderr, "usage: %s MODEL PROMPT OUTPUT.png [WIDTH HEIGHT STEPS SEED]\n", argv[0]);
    return 2;
  }

  api::Model model;
  if (auto result = model.open({.model = argv[1]}); !result) return failed(result);

  api::PictureOptions options{.prompt = argv[2]};
  if (argc == 8) {
    options.width = std::atoll(argv[4]);
    options.height = std::atoll(argv[5]);
    options.steps = std::atoll(argv[6]);
    options.seed = std::strtoull(argv[7], nullptr, 10);
  }

  api::PicturePlan plan;
  if (auto result = model.plan(options, plan); !result) return failed(result);
  std::fprintf(stderr, "%s, %s on %s, %.1f MiB\n", plan.schedule, plan.precision, plan.device,
               static_cast<double>(plan.peak_bytes) / (1 << 20));

  running = &model;
  std::signal(SIGINT, stop);
  const auto show_progress = [](std::string_view phase, int64_t done, int64_t total) {
    std::fprintf(stderr, "%.*s %d/%d\n", static_cast<int>(phase.size()), phase.data(),
                 static_cast<int>(done), static_cast<int>(total));
    return true;  // false stops the picture
  };
  api::Picture picture;
  auto result = model.generate(options, picture, show_progress);
  std::signal(SIGINT, SIG_DFL);
  if (result) result = picture.save_png(argv[3]);
  if (!result) return failed(result);
  const api::PictureInfo info = picture.info();
  std::fprintf(stderr, "%s: seed %llu, %.0f ms\n", argv[3],
               static_cast<unsigned long long>(info.seed), info.total_ms);
  return 0;
}
