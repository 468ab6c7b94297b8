#include "pipeline/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <vector>

#include "core/log.h"
#include "core/memory_info.h"
#include "core/processors.h"
#include "io/printable.h"
#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/device.h"
#include "core/cuda/stream.h"
#include "ops/cuda/launch/int8_linear.h"
#endif

namespace intaglio {
namespace {

// Once a process: every command asks for its context more than once.
void note_crowd(int threads, int usable) {
  static std::atomic<bool> noted{false};
  if (noted.exchange(true)) return;
  log(LogLevel::kWarning, "{} threads asked for, {} used: this process may use {} processor{}",
      threads, usable, usable, usable == 1 ? "" : "s");
}

tl::unexpected<Error> too_few(std::string_view what) {
  return make_error(ErrorCode::kInvalidArgument,
                    "{}: expected two GPUs or more, such as 0,1, which share each pass "
                    "(--parallel ulysses)",
                    what);
}

tl::unexpected<Error> not_in_halves(std::string_view what, size_t gpus) {
  return make_error(ErrorCode::kInvalidArgument,
                    "{}: expected 4, 6 or 8 GPUs, such as 0,1,2,3, half of which share each of two "
                    "passes (--parallel cfg+ulysses), found {}",
                    what, gpus);
}

// Different ones, at least one.
Expected<DeviceChoice> deal_gpus(std::string_view what, const std::vector<int>& gpus,
                                 Parallel parallel) {
  DeviceChoice choice{.gpu = gpus.front(), .second_gpu = {}};
  switch (parallel) {
    case Parallel::kOff:
      if (gpus.size() == 2) choice.second_gpu = gpus.back();
      return choice;
    case Parallel::kUlysses:
      if (gpus.size() == 1) return too_few(what);
      choice.rank_gpus.assign(gpus.begin() + 1, gpus.end());
      return choice;
    case Parallel::kCfgUlysses: {
      if (gpus.size() < 4 || gpus.size() % 2 != 0) return not_in_halves(what, gpus.size());
      const auto second = gpus.begin() + static_cast<std::ptrdiff_t>(gpus.size() / 2);
      choice.second_gpu = *second;
      choice.rank_gpus.assign(gpus.begin() + 1, second);
      choice.second_rank_gpus.assign(second + 1, gpus.end());
      return choice;
    }
    case Parallel::kAuto:
      choice.undecided.assign(gpus.begin() + 1, gpus.end());
      return choice;
  }
  return choice;
}

}  // namespace

Expected<Context> host_context(int threads) {
  Context context;
  INTAGLIO_ASSIGN(context.cpu, selected_cpu_features());
  const int usable = usable_processors();
  // More threads than processors would only take turns, and wait for one another while they do.
  context.threads = threads > 0 ? std::min(threads, usable) : usable;
  if (threads > usable) note_crowd(threads, usable);
  INTAGLIO_TRY(ThreadPool::global().start(context.threads));
  return context;
}

#if defined(INTAGLIO_HAS_CUDA)

Expected<DeviceContext> open_device(std::optional<int> gpu, int threads) {
  DeviceContext device;
  INTAGLIO_ASSIGN(device.context, host_context(threads));
  if (!gpu) return device;
  INTAGLIO_ASSIGN(device.context.gpu, cuda::find_device(*gpu));
  INTAGLIO_TRY(cuda::check_device(*gpu));
  INTAGLIO_TRY(cuda::use_device(*gpu));
  INTAGLIO_ASSIGN(device.stream, cuda::make_stream());
  device.context.stream = device.stream.get();
  return device;
}

Status make_current(const Context& context) {
  return context.gpu != nullptr ? cuda::use_device(context.gpu->ordinal) : Status{};
}

std::optional<int> default_gpu() {
  for (int ordinal = 0; cuda::find_device(ordinal); ++ordinal)
    if (cuda::check_device(ordinal)) return ordinal;
  return std::nullopt;
}

Expected<uint64_t> available_device_bytes(const Context& context) {
  if (context.gpu == nullptr) return available_memory_bytes();
  INTAGLIO_ASSIGN(const cuda::DeviceMemoryInfo info, cuda::device_memory_info());
  return info.free;
}

#else

Expected<DeviceContext> open_device(std::optional<int> gpu, int threads) {
  if (gpu)
    return make_error(ErrorCode::kUnsupported, "cuda:{}: this build has no CUDA kernels", *gpu);
  DeviceContext device;
  INTAGLIO_ASSIGN(device.context, host_context(threads));
  return device;
}

Status make_current(const Context&) { return {}; }

std::optional<int> default_gpu() { return std::nullopt; }

Expected<uint64_t> available_device_bytes(const Context&) { return available_memory_bytes(); }

#endif

std::optional<int> cuda_ordinal(std::string_view text) {
  constexpr std::string_view kPrefix = "cuda:";
  if (text == "cuda") return 0;
  if (!text.starts_with(kPrefix)) return std::nullopt;
  int ordinal = -1;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + kPrefix.size(), end, ordinal);
  if (error != std::errc() || rest != end || ordinal < 0) return std::nullopt;
  return ordinal;
}

Expected<std::optional<int>> device_from_name(std::string_view what, std::string_view text) {
  if (text == "auto") return default_gpu();
  if (text == "cpu") return std::optional<int>();
  if (const std::optional<int> ordinal = cuda_ordinal(text)) return ordinal;
  return make_error(ErrorCode::kInvalidArgument,
                    "{}: expected auto, cpu, cuda or cuda:N, found \"{}\"", what,
                    printable(text, 60));
}

Expected<Parallel> parallel_from_name(std::string_view what, std::string_view text) {
  if (text == "off") return Parallel::kOff;
  if (text == "ulysses") return Parallel::kUlysses;
  if (text == "cfg+ulysses") return Parallel::kCfgUlysses;
  if (text == "auto") return Parallel::kAuto;
  return make_error(ErrorCode::kInvalidArgument,
                    "{}: expected off, ulysses, cfg+ulysses or auto, found \"{}\"", what,
                    printable(text, 60));
}

Expected<DeviceChoice> devices_from_names(std::string_view what, std::string_view text,
                                          Parallel parallel) {
  constexpr size_t kMostDevices = 2, kMostRanks = 8;
  std::vector<std::string_view> names;
  for (std::string_view rest = text;;) {
    const size_t comma = rest.find(',');
    names.push_back(rest.substr(0, comma));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  std::vector<int> ordinals;
  for (const std::string_view name : names) {
    const std::optional<int> bare = cuda_ordinal("cuda:" + std::string(name));
    if (const std::optional<int> ordinal = bare ? bare : cuda_ordinal(name)) {
      ordinals.push_back(*ordinal);
    } else if (names.size() == 1) {
      INTAGLIO_ASSIGN(const std::optional<int> gpu, device_from_name(what, text));
      if (parallel == Parallel::kUlysses) return too_few(what);
      if (parallel == Parallel::kCfgUlysses) return not_in_halves(what, 1);
      return DeviceChoice{.gpu = gpu, .second_gpu = {}};
    } else {
      return make_error(ErrorCode::kInvalidArgument,
                        "{}: expected GPUs alone, such as 0,1, found \"{}\"", what,
                        printable(name, 60));
    }
  }
  const bool shares = parallel != Parallel::kOff;
  const size_t most = shares ? kMostRanks : kMostDevices;
  if (ordinals.size() > most)
    return make_error(ErrorCode::kInvalidArgument, "{}: {} GPUs, at most {}{}", what,
                      ordinals.size(), most,
                      shares ? ""
                             : ": one for each pass of a step, where passes are not shared "
                               "(--parallel ulysses, cfg+ulysses)");
  for (size_t i = 0; i < ordinals.size(); ++i)
    if (std::find(ordinals.begin(), ordinals.begin() + static_cast<std::ptrdiff_t>(i),
                  ordinals[i]) != ordinals.begin() + static_cast<std::ptrdiff_t>(i))
      return make_error(ErrorCode::kInvalidArgument, "{}: expected {} GPUs, found cuda:{} twice",
                        what, ordinals.size() == 2 ? "two" : "different", ordinals[i]);
  return deal_gpus(what, ordinals, parallel);
}

std::string device_name(const Context& context) {
  if (context.gpu == nullptr) return "cpu";
  return fmt::format("cuda:{}, {}", context.gpu->ordinal, context.gpu->name);
}

std::string device_names(const Context& first, std::span<const Context* const> others) {
  std::string names = device_name(first);
  for (size_t i = 0; i < others.size(); ++i)
    names += (i + 1 == others.size() ? " and " : ", ") + device_name(*others[i]);
  return names;
}

}  // namespace intaglio
