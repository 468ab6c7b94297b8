// `intaglio bench load`: a transformer's weights from its file into the form that its kernels read,
// beside the time that reading the file alone takes.
#include "bench/bench_load.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>

#include "argument_values.h"
#include "bench/bench.h"
#include "bench/fp8_checkpoint.h"
#include "cache/cache.h"
#include "command.h"
#include "console.h"
#include "core/aligned_buffer.h"
#include "core/input_file.h"
#include "core/memory.h"
#include "core/memory_info.h"
#include "core/parallel_tasks.h"
#include "interrupt.h"
#include "io/checkpoint.h"
#include "model_flags.h"
#include "models/parts/packed_cache.h"
#include "models/registry.h"
#include "options.h"
#include "pipeline/device.h"
#include "run_files.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct LoadFlags {
  std::string model = "ideogram4", file, precision = "int8", device = "auto", json;
  int64_t layers = 0;  // 0: the model's
  int rounds = 3, threads = 0;
  bool cold = false;
  std::optional<std::string> packed_cache = "off";
};

double since_ms(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

// The transformer as yet without weights, and where these lie.
struct Subject {
  std::shared_ptr<const Model> model;
  fs::path weights;
  std::shared_ptr<const Checkpoint> checkpoint;
  uint64_t file_bytes = 0, largest_tensor = 0;

  std::unique_ptr<Transformer> transformer(const LayerSelection& selection) const {
    return model->transformer(0, {.selection = selection});
  }
};

Expected<Subject> find_subject(const LoadFlags& flags, Stream out) {
  Subject subject;
  const bool is_folder = fs::exists(fs::path(flags.model) / "model_index.json");
  if (is_folder) {
    INTAGLIO_ASSIGN(subject.model, open_model(flags.model));
    subject.weights =
        flags.file.empty() ? fs::path(flags.model) / "transformer" : fs::path(flags.file);
  } else {
    INTAGLIO_ASSIGN(subject.model, benchmark_model(flags.model, flags.layers));
    if (flags.file.empty())
      return make_error(ErrorCode::kInvalidArgument,
                        "--file: random weights need a file that they are written to");
    subject.weights = flags.file;
    if (!fs::exists(subject.weights)) {
      print(out, "writing {}\n", subject.weights.string());
      INTAGLIO_TRY(write_fp8_checkpoint(subject.weights, *subject.transformer({})));
    }
  }
  INTAGLIO_ASSIGN(subject.checkpoint, Checkpoint::open(subject.weights));
  for (const auto& file : subject.checkpoint->files())
    subject.file_bytes += fs::file_size(file->path());
  for (const TensorEntry* const tensor : subject.checkpoint->tensors())
    subject.largest_tensor = std::max<uint64_t>(subject.largest_tensor, tensor->view.size_bytes());
  return subject;
}

// Only files that are on the disk leave the system's cache.
void drop_from_cache(const Checkpoint& checkpoint) {
  for (const auto& file : checkpoint.files()) {
    const int descriptor = ::open(file->path().c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) continue;
    static_cast<void>(::posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED));
    ::close(descriptor);
  }
}

// Every byte once, into a buffer a thread.
Expected<double> time_reading(Context context, const Checkpoint& checkpoint, int threads) {
  constexpr int64_t kPiece = int64_t{4} << 20;
  context.threads = threads;
  std::vector<AlignedBuffer> buffers(static_cast<size_t>(threads));
  for (AlignedBuffer& buffer : buffers) {
    INTAGLIO_ASSIGN(buffer, AlignedBuffer::allocate(kPiece));
  }
  const Clock::time_point start = Clock::now();
  for (const auto& file : checkpoint.files()) {
    INTAGLIO_ASSIGN(const auto input, InputFile::open(file->path()));
    std::atomic<bool> failed{false};
    INTAGLIO_TRY(parallel_tasks(context, static_cast<int64_t>(input->size()), kPiece,
                                [&](int64_t begin, int64_t end, int thread) {
                                  std::byte* const target =
                                      buffers[static_cast<size_t>(thread)].as<std::byte>();
                                  const auto bytes = static_cast<size_t>(end - begin);
                                  if (!input->read(static_cast<uint64_t>(begin), {target, bytes}))
                                    failed = true;
                                }));
    if (failed) return make_error(ErrorCode::kIo, "{}: cannot read", file->path().string());
  }
  return since_ms(start);
}

struct MemoryNow {
  uint64_t resident = 0, peak = 0;  // bytes, of this process
};

MemoryNow memory_now() {
  MemoryNow now;
  std::ifstream status("/proc/self/status");
  for (std::string name; status >> name;) {
    uint64_t* const value = name == "VmRSS:"   ? &now.resident
                            : name == "VmHWM:" ? &now.peak
                                               : nullptr;
    if (value == nullptr) continue;
    status >> *value;
    *value *= 1024;
  }
  return now;
}

// From here on the peak is that of what follows.
void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

struct Round {
  double load_ms = 0.0;
  // Host memory beside the weights that stay, at most.
  uint64_t beside_bytes = 0, weight_bytes = 0;
};

Expected<Round> time_loading(const Context& context, const Subject& subject,
                             const LayerSelection& selection) {
  reset_peak();
  const MemoryNow before = memory_now();
  const Clock::time_point start = Clock::now();
  const std::unique_ptr<Transformer> transformer = subject.transformer(selection);
  INTAGLIO_ASSIGN(const std::shared_ptr<const Checkpoint> checkpoint,
                  Checkpoint::open(subject.weights));
  INTAGLIO_ASSIGN(const auto source, transformer->open_source(checkpoint));
  INTAGLIO_TRY(transformer->load(context, *source));
  INTAGLIO_TRY(synchronize(context));
  Round round{.load_ms = since_ms(start), .weight_bytes = transformer->weight_bytes()};
  const uint64_t stays =
      before.resident + (context.gpu == nullptr ? transformer->weight_bytes() : 0);
  const uint64_t peak = memory_now().peak;
  round.beside_bytes = peak - std::min(peak, stays);
  return round;
}

double median(std::vector<double> values) { return spread_of(std::move(values)).median; }

Status run_load(const LoadFlags& flags) {
  INTAGLIO_TRY(check_files({.outputs = {{"--json", flags.json}}, .inputs = {}}));
  LayerSelection selection{.precision = *precision_from_name(flags.precision)};
  INTAGLIO_ASSIGN(const std::optional<int> gpu, parse_device(flags.device));
  INTAGLIO_ASSIGN(DeviceContext device, open_device(gpu, flags.threads));
  Context& context = device.context;
  context.cancel = &interrupted;
  Arena arena;
  context.scratch = &arena;
  INTAGLIO_TRY(selection.check_device(context));
  INTAGLIO_TRY(use_packed_cache(flags.packed_cache));
  const Stream out = flags.json == "-" ? Stream::kErr : Stream::kOut;
  INTAGLIO_ASSIGN(const Subject subject, find_subject(flags, out));

  std::vector<double> one_ms, all_ms, load_ms;
  Round last;
  for (int round = 0; round < flags.rounds; ++round) {
    if (flags.cold) drop_from_cache(*subject.checkpoint);
    INTAGLIO_ASSIGN(const double one, time_reading(context, *subject.checkpoint, 1));
    if (flags.cold) drop_from_cache(*subject.checkpoint);
    INTAGLIO_ASSIGN(const double all, time_reading(context, *subject.checkpoint, context.threads));
    if (flags.cold) drop_from_cache(*subject.checkpoint);
    INTAGLIO_ASSIGN(const Round loaded, time_loading(context, subject, selection));
    one_ms.push_back(one);
    all_ms.push_back(all);
    load_ms.push_back(loaded.load_ms);
    finish_packed_cache();
    last.weight_bytes = loaded.weight_bytes;
    last.beside_bytes = std::max(last.beside_bytes, loaded.beside_bytes);
  }
  const double read = median(one_ms);
  const double load =
      median({load_ms.begin() + static_cast<std::ptrdiff_t>(load_ms.size() > 1), load_ms.end()});
  print(out, "{}: {}, {} of them in the largest tensor; {} at {} on {}, {} threads\n",
        subject.weights.string(), format_bytes(subject.file_bytes),
        format_bytes(subject.largest_tensor), subject.model->info().name, flags.precision,
        device_name(context), context.threads);
  const auto line = [&](std::string_view what, double ms) {
    print(out, "{:<34} {:>9.0f} ms {:>8.2f} GB/s {:>6.2f}\n", what, ms,
          static_cast<double>(subject.file_bytes) / ms * 1e-6, ms / read);
  };
  line(flags.cold ? "reading from disk, 1 thread" : "reading, 1 thread", read);
  line(flags.cold ? "reading from disk, all threads" : "reading, all threads", median(all_ms));
  line("loading", load_ms.front());
  if (load_ms.size() > 1) line("loading, rounds after the first", load);
  print(out, "host memory beside the weights: at most {}; weights: {}\n",
        format_bytes(last.beside_bytes), format_bytes(last.weight_bytes));
  if (flags.json.empty()) return {};
  return write_result(flags.json, {{"benchmark", "load"},
                                   {"machine", machine_json(context)},
                                   {"device", device_name(context)},
                                   {"model", subject.model->info().name},
                                   {"precision", flags.precision},
                                   {"cold", flags.cold},
                                   {"file_bytes", subject.file_bytes},
                                   {"largest_tensor_bytes", subject.largest_tensor},
                                   {"read_ms", read},
                                   {"read_all_threads_ms", median(all_ms)},
                                   {"first_load_ms", load_ms.front()},
                                   {"load_ms", load},
                                   {"load_over_read", load / read},
                                   {"weight_bytes", last.weight_bytes},
                                   {"host_bytes_beside_weights", last.beside_bytes}});
}

}  // namespace

void add_bench_load(CLI::App& bench, Action& action) {
  auto flags = std::make_shared<LoadFlags>();
  CLI::App* command = bench.add_subcommand(
      "load", "Weights from a file into the form that kernels read, beside reading it alone");
  command
      ->add_option("--model", flags->model,
                   fmt::format("Folder of a model, or whose sizes: {}",
                               fmt::join(synthetic_model_names(), ", ")))
      ->type_name("DIR|NAME")
      ->capture_default_str();
  limit(command->add_option("--layers", flags->layers, "Layers instead of as many as NAME has"), 1,
        200);
  command
      ->add_option("--file", flags->file,
                   "Weights of the transformer; of a NAME random ones in FP8, written first if "
                   "the file is not there")
      ->type_name("FILE");
  add_precision_flag(*command, flags->precision);
  command
      ->add_option("--device", flags->device,
                   "cpu, cuda, cuda:N, or auto, the first GPU if there is one")
      ->type_name("DEVICE")
      ->capture_default_str();
  limit(command->add_option("--rounds", flags->rounds, "Timed rounds"), 1, 1000)
      ->capture_default_str();
  command->add_flag("--cold", flags->cold,
                    "Drop the file from the system's cache before every time");
  add_packed_cache_flag(*command, flags->packed_cache);
  add_threads_flag(*command, flags->threads);
  command->add_option("--json", flags->json, "Write results to a file, or - for stdout")
      ->type_name("FILE|-");
  command->footer(
      "Examples:\n"
      "  intaglio bench load --layers 4 --file /tmp/fp8.safetensors\n"
      "  intaglio bench load --model ideogram-4 --precision int8 --device cuda --cold\n"
      "  intaglio bench load --layers 4 --file /tmp/fp8.safetensors --packed-cache 40G");
  command->callback([flags, &action] {
    action = [flags] {
      const Status status = run_load(*flags);
      return status ? kExitOk : fail(status.error(), flags->json == "-");
    };
  });
}

}  // namespace intaglio::cli
