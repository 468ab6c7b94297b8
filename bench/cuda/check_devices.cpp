// Pictures on several GPUs of one process: the last device before the first, then one thread a
// device at the same time, then two devices for each picture, which exchange straight and by way of
// the host. The same request gives the same bits on cards of one kind, whoever drew before, beside
// and with it.
//
// check_devices MODEL [--json FILE]: exit status 0 if everything agreed; 3 if there are fewer than
// two GPUs.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/context.h"
#include "pipeline/device.h"
#include "pipeline/pipeline.h"

namespace intaglio {
namespace {

constexpr int kRounds = 3;

struct Drawn {
  std::vector<float> latents;
  std::string error;
};

PictureRequest request_of(int round) {
  PictureRequest request;
  request.prompt = round % 2 == 0 ? "a red circle" : "two blue squares on a navy background";
  request.width = request.height = round == 2 ? 256 : 128;
  request.steps = 3;
  request.guidance = {7.0f, 7.0f, 3.0f};
  request.seed = static_cast<uint64_t>(round + 1);
  return request;
}

// A pipeline of its own on `device`, with `second` if there is one, and all rounds with it.
std::vector<Drawn> draw_all(const std::string& model, Precision precision, int device,
                            std::optional<int> second = {}) {
  std::vector<Drawn> drawn;
  PipelineOptions options;
  options.selection.precision = precision;
  options.gpu = device;
  options.second_gpu = second;
  auto pipeline = Pipeline::open(std::filesystem::path(model), options);
  if (!pipeline) return {{{}, pipeline.error().message}};
  for (int round = 0; round < kRounds; ++round) {
    auto picture = (*pipeline)->generate(request_of(round), {}, nullptr);
    if (picture) {
      drawn.push_back({picture->latents, {}});
    } else {
      drawn.push_back({{}, picture.error().message});
    }
  }
  return drawn;
}

bool agree(const std::vector<Drawn>& a, const std::vector<Drawn>& b, const std::string& what) {
  bool good = a.size() == kRounds && b.size() == kRounds;
  for (const auto* drawn : {&a, &b})
    for (const Drawn& d : *drawn)
      if (!d.error.empty()) fmt::print("  {}\n", d.error), good = false;
  for (size_t i = 0; good && i < a.size(); ++i) good = a[i].latents == b[i].latents;
  fmt::print("{:<8}{}\n", good ? "ok" : "FAILED", what);
  return good;
}

int run(const std::string& model, const std::string& json) {
  int devices = 0;
  while (open_device(devices, 1)) ++devices;
  if (devices < 2) {
    fmt::print("{} GPU; two are needed\n", devices);
    return 3;
  }
  int failed = 0, checks = 0;
  std::string cases;
  for (const Precision precision : {Precision::kInt8, Precision::kBf16, Precision::kFp8}) {
    const std::string name(precision_name(precision));
    std::vector<std::vector<Drawn>> alone(static_cast<size_t>(devices));
    for (int device = devices; device-- > 0;)
      alone[static_cast<size_t>(device)] = draw_all(model, precision, device);
    std::vector<std::vector<Drawn>> together(static_cast<size_t>(devices));
    std::vector<std::thread> threads;
    for (int device = 0; device < devices; ++device)
      threads.emplace_back([&, device] {
        together[static_cast<size_t>(device)] = draw_all(model, precision, device);
      });
    for (std::thread& thread : threads) thread.join();
    const auto check = [&](const std::vector<Drawn>& a, const std::vector<Drawn>& b,
                           const std::string& what) {
      const bool good = agree(a, b, what);
      failed += good ? 0 : 1;
      cases += fmt::format("{}\n  {{\"check\": \"{}\", \"ok\": {}}}", checks++ > 0 ? "," : "", what,
                           good);
    };
    for (int device = 1; device < devices; ++device)
      check(alone[static_cast<size_t>(device)], alone[0],
            fmt::format("{}: cuda:{}, drawn before cuda:0, gives the same bits", name, device));
    for (int device = 0; device < devices; ++device)
      check(together[static_cast<size_t>(device)], alone[static_cast<size_t>(device)],
            fmt::format("{}: cuda:{} beside the others gives the same bits", name, device));
    for (const char* link : {"", "host"}) {
      ::setenv("INTAGLIO_GPU_LINK", link, 1);
      const char* const way = *link == 0 ? "straight where they can" : "by way of the host";
      for (const auto& [first, second] : {std::pair{0, 1}, {1, 0}, {0, 0}})
        check(draw_all(model, precision, first, second), alone[0],
              fmt::format("{}: cuda:{} with cuda:{} gives the same bits, {}", name, first, second,
                          way));
    }
  }
  if (!json.empty())
    std::ofstream(json) << fmt::format("{{\"devices\": {}, \"failed\": {}, \"checks\": [{}\n]}}\n",
                                       devices, failed, cases);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace intaglio

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: check_devices MODEL [--json FILE]\n");
    return 2;
  }
  return intaglio::run(argv[1], argc > 3 ? argv[3] : "");
}
