#include "core/cuda/stream.h"

#include <cuda_runtime_api.h>

#include "core/cuda/device.h"

namespace intaglio::cuda {

Status use_device(int ordinal) { return device_status(cudaSetDevice(ordinal), "cudaSetDevice"); }

Expected<std::shared_ptr<void>> make_stream() {
  cudaStream_t stream = nullptr;
  INTAGLIO_TRY(device_status(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking),
                             "cudaStreamCreateWithFlags"));
  return std::shared_ptr<void>(stream,
                               [](void* s) { cudaStreamDestroy(static_cast<cudaStream_t>(s)); });
}

void* record_event(void* stream) {
  cudaEvent_t event = nullptr;
  if (cudaEventCreate(&event) != cudaSuccess) return nullptr;
  if (cudaEventRecord(event, static_cast<cudaStream_t>(stream)) == cudaSuccess) return event;
  cudaEventDestroy(event);
  return nullptr;
}

Expected<double> elapsed_ms(void* begin, void* end) {
  float ms = 0.0f;
  INTAGLIO_TRY(device_status(
      cudaEventElapsedTime(&ms, static_cast<cudaEvent_t>(begin), static_cast<cudaEvent_t>(end)),
      "cudaEventElapsedTime"));
  return static_cast<double>(ms);
}

void free_event(void* event) {
  if (event != nullptr) cudaEventDestroy(static_cast<cudaEvent_t>(event));
}

bool has_happened(void* event) {
  return cudaEventQuery(static_cast<cudaEvent_t>(event)) != cudaErrorNotReady;
}

bool is_recording(void* stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  return cudaStreamIsCapturing(static_cast<cudaStream_t>(stream), &status) == cudaSuccess &&
         status != cudaStreamCaptureStatusNone;
}

Expected<Graph> Graph::record(void* stream, const std::function<Status()>& work) {
  auto* const queue = static_cast<cudaStream_t>(stream);
  // Of this thread only: another thread's allocations do not spoil the recording.
  INTAGLIO_TRY(device_status(cudaStreamBeginCapture(queue, cudaStreamCaptureModeThreadLocal),
                             "cudaStreamBeginCapture"));
  const Status done = work();
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(queue, &graph);
  const std::unique_ptr<CUgraph_st, cudaError_t (*)(cudaGraph_t)> holder(graph, cudaGraphDestroy);
  INTAGLIO_TRY(done);
  INTAGLIO_TRY(device_status(ended, "cudaStreamEndCapture"));
  cudaGraphExec_t executable = nullptr;
  INTAGLIO_TRY(device_status(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate"));
  Graph recorded;
  recorded.executable_ = std::shared_ptr<void>(
      executable, [](void* e) { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(e)); });
  return recorded;
}

Status Graph::launch(void* stream) const {
  return device_status(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable_.get()),
                                       static_cast<cudaStream_t>(stream)),
                       "cudaGraphLaunch");
}

}  // namespace intaglio::cuda
