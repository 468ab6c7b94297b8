// What the GPU checks and benchmarks share: memory, errors, times. Programs of their own, so an
// error ends them.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace intaglio::bench {

inline void require(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(status));
  std::exit(2);
}

// Device memory, never initialised by itself.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(size_t bytes) : bytes_(bytes) {
    require(cudaMalloc(&data_, std::max<size_t>(bytes, 16)), "cudaMalloc");
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~DeviceBuffer() { cudaFree(data_); }

  // Grows to at least `bytes`; contents are lost when it does.
  void reserve(size_t bytes) {
    if (bytes > bytes_) *this = DeviceBuffer(bytes);
  }
  size_t bytes() const { return bytes_; }
  template <typename T>
  void upload(const std::vector<T>& from) const {
    require(cudaMemcpy(data_, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice),
            "upload");
  }
  template <typename T>
  T* as(size_t byte_offset = 0) const {
    return reinterpret_cast<T*>(static_cast<char*>(data_) + byte_offset);
  }

 private:
  void swap(DeviceBuffer& other) {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

struct Times {
  double median_ms, min_ms, max_ms;
};

inline Times times_of(std::vector<float> ms) {
  std::sort(ms.begin(), ms.end());
  return {ms[ms.size() / 2], ms.front(), ms.back()};
}

struct TimingOptions {
  int warm_up = 5;
  int runs = 21;
  bool flush_l2 = true;
};

// Event times of `launch(stream)`, one by one. Between runs a buffer larger than any L2 is
// overwritten, outside the timed span. Nothing waits for the host in between, so the clocks stay
// where a busy card has them.
template <typename Launch>
Times time_on_device(const TimingOptions& options, Launch&& launch) {
  constexpr size_t kFlushBytes = size_t{256} << 20;
  static DeviceBuffer flush(kFlushBytes);
  std::vector<std::pair<cudaEvent_t, cudaEvent_t>> events(options.runs);
  for (auto& [begin, end] : events) {
    require(cudaEventCreate(&begin), "cudaEventCreate");
    require(cudaEventCreate(&end), "cudaEventCreate");
  }
  for (int i = 0; i < options.warm_up; ++i) require(launch(cudaStream_t{}), "launch");
  for (auto& [begin, end] : events) {
    if (options.flush_l2) require(cudaMemsetAsync(flush.as<void>(), 0x5a, kFlushBytes), "memset");
    require(cudaEventRecord(begin), "cudaEventRecord");
    require(launch(cudaStream_t{}), "launch");
    require(cudaEventRecord(end), "cudaEventRecord");
  }
  require(cudaDeviceSynchronize(), "timed runs");
  std::vector<float> ms;
  for (auto& [begin, end] : events) {
    ms.push_back(0.0f);
    require(cudaEventElapsedTime(&ms.back(), begin, end), "cudaEventElapsedTime");
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
  }
  return times_of(std::move(ms));
}

struct Candidate {
  std::string name;
  std::function<cudaError_t(cudaStream_t)> launch;
};

// Times of one launch of each candidate. In each round every candidate runs once untimed, then a
// timed burst: all see the same clocks, and the work before a burst is its own.
inline std::vector<Times> time_interleaved(std::span<const Candidate> candidates, int rounds,
                                           int burst) {
  cudaEvent_t begin, end;
  require(cudaEventCreate(&begin), "cudaEventCreate");
  require(cudaEventCreate(&end), "cudaEventCreate");
  for (const Candidate& c : candidates) require(c.launch(cudaStream_t{}), c.name.c_str());
  std::vector<std::vector<float>> ms(candidates.size());
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < candidates.size(); ++i) {
      const Candidate& c = candidates[i];
      require(c.launch(cudaStream_t{}), c.name.c_str());
      require(cudaEventRecord(begin), "cudaEventRecord");
      for (int j = 0; j < burst; ++j) require(c.launch(cudaStream_t{}), c.name.c_str());
      require(cudaEventRecord(end), "cudaEventRecord");
      require(cudaEventSynchronize(end), c.name.c_str());
      float all = 0.0f;
      require(cudaEventElapsedTime(&all, begin, end), "cudaEventElapsedTime");
      ms[i].push_back(all / static_cast<float>(burst));
    }
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::vector<Times> times;
  for (auto& of_one : ms) times.push_back(times_of(std::move(of_one)));
  return times;
}

}  // namespace intaglio::bench
