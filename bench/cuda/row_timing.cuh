// Device side of the row benchmarks: graphs of launches, and the copy everything is measured
// against.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "device_bench.cuh"

namespace intaglio::bench {

#define MUST(call) ::intaglio::bench::require((call), #call)

struct Timing {
  double median_us = 0, min_us = 0, max_us = 0;  // of one launch
};

// Times `launches` calls enqueued by `enqueue(i, stream)`, captured once and replayed: no launch
// cost of the host, and proof that capture works.
inline Timing time_graph(int launches, const std::function<void(int, cudaStream_t)>& enqueue) {
  constexpr int kWarmUps = 5, kSamples = 31;
  cudaStream_t stream;
  MUST(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  MUST(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  for (int i = 0; i < launches; ++i) enqueue(i, stream);
  MUST(cudaStreamEndCapture(stream, &graph));
  MUST(cudaGraphInstantiate(&executable, graph, 0));
  cudaEvent_t begin, end;
  MUST(cudaEventCreate(&begin));
  MUST(cudaEventCreate(&end));
  std::vector<double> us;
  for (int s = 0; s < kWarmUps + kSamples; ++s) {
    MUST(cudaEventRecord(begin, stream));
    MUST(cudaGraphLaunch(executable, stream));
    MUST(cudaEventRecord(end, stream));
    MUST(cudaEventSynchronize(end));
    float ms = 0;
    MUST(cudaEventElapsedTime(&ms, begin, end));
    if (s >= kWarmUps) us.push_back(1e3 * static_cast<double>(ms) / launches);
  }
  MUST(cudaGraphExecDestroy(executable));
  MUST(cudaGraphDestroy(graph));
  MUST(cudaEventDestroy(begin));
  MUST(cudaEventDestroy(end));
  MUST(cudaStreamDestroy(stream));
  std::sort(us.begin(), us.end());
  return {us[us.size() / 2], us.front(), us.back()};
}

static __global__ void fill_random(void* x, int64_t count, bool is_float) {
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t z = static_cast<uint32_t>(i) * 2654435761u + 12345u;
    z ^= z >> 15, z *= 2246822519u, z ^= z >> 13;
    const float value =
        static_cast<float>(z & 0xffff) / 65536.0f + static_cast<float>(z >> 16) / 65536.0f - 1.0f;
    if (is_float) {
      static_cast<float*>(x)[i] = value;
    } else {
      static_cast<uint16_t*>(x)[i] = static_cast<uint16_t>(__float_as_uint(value) >> 16);
    }
  }
}

inline size_t l2_bytes = 0;

// Enough buffers that each was evicted before it comes around again, at most 64.
inline int sets_for(double bytes) {
  return static_cast<int>(std::clamp(4.0 * static_cast<double>(l2_bytes) / bytes + 1.0, 3.0, 64.0));
}

inline Timing time_copy(double bytes) {  // read + write
  const int sets = sets_for(bytes);
  const auto half = static_cast<size_t>(bytes / 2) / 16 * 16;
  std::vector<DeviceBuffer> from, to;
  for (int i = 0; i < sets; ++i) from.emplace_back(half), to.emplace_back(half);
  for (const DeviceBuffer& b : from)
    fill_random<<<1024, 256>>>(b.as<void>(), static_cast<int64_t>(half / 2), false);
  MUST(cudaDeviceSynchronize());
  return time_graph(sets, [&](int i, cudaStream_t stream) {
    MUST(cudaMemcpyAsync(to[static_cast<size_t>(i)].as<void>(),
                         from[static_cast<size_t>(i)].as<void>(), half, cudaMemcpyDeviceToDevice,
                         stream));
  });
}

}  // namespace intaglio::bench
