// The calls of the CUDA runtime that the engine makes, on the made-up cards.
#include <algorithm>
#include <cstring>

#include "device/double/runtime.h"

using intaglio::test::current_device;
using intaglio::test::DeviceDouble;
using intaglio::test::OneCall;
using intaglio::test::Runtime;

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorStreamCaptureUnjoined:
      return "a stream of the recording was not joined";
    case cudaErrorStreamCaptureIsolation:
      return "a recording refers to what happened before it";
    case cudaErrorStreamCaptureUnsupported:
      return "not while a graph is recorded";
    case cudaErrorUnknown:
      return "the call that was to fail";
    default:
      return "error";
  }
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) {
  *count = DeviceDouble::kDevices;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = current_device();
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= DeviceDouble::kDevices) return cudaErrorInvalidDevice;
  current_device() = device;
  return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
  *can = DeviceDouble::instance().has_peers() ? 1 : 0;
  return cudaSuccess;
}
cudaError_t cudaDeviceEnablePeerAccess(int, unsigned) { return cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  *p = {};
  std::strcpy(p->name, "a made-up GPU");
  p->totalGlobalMem = DeviceDouble::instance().capacity();
  p->sharedMemPerBlockOptin = 101376;
  p->major = 8;
  p->minor = 9;
  p->multiProcessorCount = 8;
  p->l2CacheSize = 4 << 20;
  return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
  *version = 13000;
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const OneCall lock;
  const DeviceDouble& d = DeviceDouble::instance();
  *free = d.capacity() - d.device(current_device()).now;
  *total = d.capacity();
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  const OneCall lock;
  return Runtime::get().allocate(data, bytes, false);
}
cudaError_t cudaFree(void* data) {
  const OneCall lock;
  return Runtime::get().release(data);
}
cudaError_t cudaMallocHost(void** data, size_t bytes) {
  const OneCall lock;
  return Runtime::get().allocate(data, bytes, true);
}
cudaError_t cudaFreeHost(void* data) { return cudaFree(data); }

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  const OneCall lock;
  return Runtime::get().copy(target, source, kind, stream, bytes, 1, bytes, bytes);
}
cudaError_t cudaMemcpy2DAsync(void* target, size_t target_stride, const void* source,
                              size_t source_stride, size_t bytes, size_t rows, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  const OneCall lock;
  return Runtime::get().copy(target, source, kind, stream, bytes, rows, target_stride,
                             source_stride);
}
cudaError_t cudaMemcpyPeerAsync(void* target, int target_device, const void* source,
                                int source_device, size_t bytes, cudaStream_t stream) {
  const OneCall lock;
  return Runtime::get().copy_to_peer(target, target_device, source, source_device, bytes, stream);
}
cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t stream) {
  return DeviceDouble::instance().launch(stream, "fill",
                                         [=] { std::memset(target, value, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const OneCall lock;
  if (const cudaError_t error = Runtime::count("cudaStreamCreateWithFlags")) return error;
  Runtime& r = Runtime::get();
  *stream = new CUstream_st{};
  (*stream)->device = current_device();
  const auto used = [&](int index) {
    return std::any_of(r.streams.begin(), r.streams.end(),
                       [&](cudaStream_t s) { return s->index == index; });
  };
  while (used((*stream)->index)) ++(*stream)->index;
  r.streams.push_back(*stream);
  std::sort(r.streams.begin(), r.streams.end(),
            [](cudaStream_t a, cudaStream_t b) { return a->index < b->index; });
  Runtime::made(1);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const OneCall lock;
  Runtime& r = Runtime::get();
  r.run_all();
  r.streams.erase(std::find(r.streams.begin(), r.streams.end(), stream));
  delete stream;
  Runtime::made(-1);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const OneCall lock;
  if (const cudaError_t error = Runtime::count("cudaStreamSynchronize")) return error;
  if (stream->recording) return cudaErrorStreamCaptureUnsupported;
  Runtime& r = Runtime::get();
  if (!stream->waits.empty()) r.add(stream, nullptr);
  r.run_until(stream->last);
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const OneCall lock;
  return Runtime::get().wait(stream, event);
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  const OneCall lock;
  if (const cudaError_t error = Runtime::count("mark: cudaEventCreate")) return error;
  *event = new CUevent_st{};
  (*event)->device = current_device();
  (*event)->is_mark = true;
  Runtime::made(1);
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  const OneCall lock;
  if (const cudaError_t error = Runtime::count("cudaEventCreateWithFlags")) return error;
  *event = new CUevent_st{};
  (*event)->device = current_device();
  Runtime::made(1);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const OneCall lock;
  delete event;
  Runtime::made(-1);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const OneCall lock;
  const char* const name = event->is_mark ? "mark: cudaEventRecord" : "cudaEventRecord";
  if (const cudaError_t error = Runtime::count(name)) return error;
  if (event->device != stream->device) return cudaErrorInvalidResourceHandle;
  event->node = Runtime::get().add(stream, nullptr);
  event->stream = stream->index;
  event->recording = stream->recording;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const OneCall lock;
  Runtime::get().run_until(event->node);
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaEventSynchronize(event); }
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) {
  *ms = 1.0f;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  const OneCall lock;
  if (stream->device != current_device()) return cudaErrorInvalidResourceHandle;
  if (const cudaError_t error = Runtime::count("cudaStreamBeginCapture")) return error;
  Runtime::get().run_all();  // what follows the recording refers to none of it
  stream->recording = std::make_shared<Recorded>();
  stream->last = nullptr;
  stream->waits.clear();
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const OneCall lock;
  *status = stream->recording ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const OneCall lock;
  return Runtime::get().end_recording(stream, graph);
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const OneCall lock;
  if (graph == nullptr) return cudaErrorInvalidValue;
  delete graph;
  Runtime::made(-1);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  const OneCall lock;
  if (const cudaError_t error = Runtime::count("cudaGraphInstantiate")) return error;
  *executable = new CUgraphExec_st{graph->recorded};
  Runtime::made(1);
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  const OneCall lock;
  delete executable;
  Runtime::made(-1);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  const OneCall lock;
  return Runtime::get().launch_graph(*executable->recorded, stream);
}
