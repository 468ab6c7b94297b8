// Gaps between the kernels of a recorded pass, by CUPTI's activity records: a library that the CUDA
// driver loads into any program.
//   g++ -O2 -std=c++20 -fPIC -shared -I$CUDA/include -o libkernel_gaps.so
//   bench/cuda/kernel_gaps.cpp -L$CUDA/lib64 -lcupti
//   CUDA_INJECTION64_PATH=./libkernel_gaps.so intaglio bench step --precision int8 ...
// At the end of the program it prints, for every kernel, copy and fill on the device in the order
// of their begin, the share of time in which none ran. Stretches of `kPause` or more without work
// are the host's doing (a benchmark between two passes) and separate runs: they are no gaps.
// Tracing by itself costs time between kernels, so what it finds is an upper bound.
// INTAGLIO_GAPS_FROM=seconds leaves out what began earlier, e.g. loading; INTAGLIO_GAPS_JSON=file
// writes the runs there.
#include <cupti.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

namespace {

constexpr uint64_t kPause = 100'000;  // ns
constexpr size_t kLeastWork = 100;    // of a run that counts
constexpr size_t kBufferBytes = 8 << 20;

struct Work {
  uint64_t begin, end;  // ns
};
std::vector<Work> g_works;
std::mutex g_mutex;

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* bytes, size_t* most_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *bytes = kBufferBytes;
  *most_records = 0;
}

template <typename Record>
void keep(const CUpti_Activity* record) {
  const auto* r = reinterpret_cast<const Record*>(record);
  if (r->start != 0 && r->end != 0) g_works.push_back({r->start, r->end});
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  const std::lock_guard lock(g_mutex);
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) keep<CUpti_ActivityKernel9>(record);
    if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) keep<CUpti_ActivityMemcpy5>(record);
    if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) keep<CUpti_ActivityMemset4>(record);
  }
  std::free(buffer);
}

struct Run {
  size_t works = 0;
  uint64_t begin = 0, end = 0, idle = 0;
};

std::vector<Run> find_runs() {
  std::sort(g_works.begin(), g_works.end(),
            [](const Work& a, const Work& b) { return a.begin < b.begin; });
  std::vector<Run> runs;
  for (const Work& work : g_works) {
    if (runs.empty() || work.begin > runs.back().end + kPause)
      runs.push_back({0, work.begin, work.begin, 0});
    Run& run = runs.back();
    if (work.begin > run.end) run.idle += work.begin - run.end;
    run.end = std::max(run.end, work.end);
    ++run.works;
  }
  return runs;
}

// [{"works", "ms", "idle_ms"}, ...]
void write_json(const char* path, const std::vector<Run>& runs) {
  std::FILE* const file = std::fopen(path, "w");
  if (file == nullptr) {
    std::perror(path);
    return;
  }
  std::fprintf(file, "{\n  \"benchmark\": \"kernel_gaps\",\n  \"runs\": [\n");
  for (size_t i = 0; i < runs.size(); ++i)
    std::fprintf(file, "    {\"works\": %zu, \"ms\": %.4f, \"idle_ms\": %.4f}%s\n", runs[i].works,
                 1e-6 * static_cast<double>(runs[i].end - runs[i].begin),
                 1e-6 * static_cast<double>(runs[i].idle), i + 1 < runs.size() ? "," : "");
  std::fprintf(file, "  ]\n}\n");
  std::fclose(file);
}

void report() {
  cuptiActivityFlushAll(1);
  const std::lock_guard lock(g_mutex);
  if (g_works.empty()) return;
  const char* from = std::getenv("INTAGLIO_GAPS_FROM");
  const std::vector<Run> runs = find_runs();
  const uint64_t first =
      runs.front().begin + static_cast<uint64_t>(1e9 * (from ? std::atof(from) : 0.0));
  std::vector<Run> counted;
  for (const Run& run : runs)
    if (run.works >= kLeastWork && run.begin >= first) counted.push_back(run);
  if (const char* path = std::getenv("INTAGLIO_GAPS_JSON")) write_json(path, counted);
  std::printf("run,works,ms,idle_ms,idle_percent\n");
  double busy = 0.0, idle = 0.0;
  for (size_t i = 0; i < counted.size(); ++i) {
    const Run& r = counted[i];
    const double ms = 1e-6 * static_cast<double>(r.end - r.begin);
    const double idle_ms = 1e-6 * static_cast<double>(r.idle);
    std::printf("%zu,%zu,%.3f,%.3f,%.2f\n", i, r.works, ms, idle_ms, 100.0 * idle_ms / ms);
    busy += ms;
    idle += idle_ms;
  }
  if (busy > 0.0) std::printf("all,,%.3f,%.3f,%.2f\n", busy, idle, 100.0 * idle / busy);
}

}  // namespace

// Called by the driver once it is up.
extern "C" int InitializeInjection() {
  cuptiActivityRegisterCallbacks(give_buffer, take_buffer);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMCPY);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_MEMSET);
  std::atexit(report);
  return 1;
}
