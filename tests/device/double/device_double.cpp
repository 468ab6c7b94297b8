#include "device/double/device_double.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>

#include "core/aligned_buffer.h"
#include "device/double/recorded_work.h"
#include "models/parts/weight_streaming.h"

struct CUstream_st {
  int index = 0;
  NodePtr last;                // of the work given so far
  std::vector<NodePtr> waits;  // for the next piece
  std::shared_ptr<Recorded> recording;
};
struct CUevent_st {
  NodePtr node;  // what the stream had been given when it was recorded
  int stream = -1;
  bool is_mark = false;  // one with a time: a mark that the engine can do without
  std::shared_ptr<Recorded> recording;
};
struct CUgraph_st {
  std::shared_ptr<Recorded> recorded;
};
struct CUgraphExec_st {
  std::shared_ptr<Recorded> recorded;
};

namespace intaglio::test {

struct Runtime {
  struct Block {
    size_t bytes = 0;
    uint64_t counted = 0;
    bool pinned = false;
  };
  SideOrder order = SideOrder::kSideLast;
  std::map<const void*, Block> blocks;
  std::vector<cudaStream_t> streams;
  std::vector<NodePtr> pending;  // in the order they were given

  static DeviceDouble& device() { return DeviceDouble::instance(); }
  static Runtime& get() { return *device().runtime_; }

  // Counts a call; the error of the one that is to fail.
  static cudaError_t count(const char* name) {
    DeviceDouble& d = device();
    if (d.calls_++ != d.fail_at_) return cudaSuccess;
    d.failed_ = true;
    d.failed_call_ = name;
    return cudaErrorUnknown;
  }
  static void note(std::string what) { device().log_.push_back(std::move(what)); }
  static void made(int64_t change) { device().objects_ += change; }

  bool is_pinned(const void* data) const {
    const auto next = blocks.upper_bound(data);
    if (next == blocks.begin()) return false;
    const auto& [begin, block] = *std::prev(next);
    return block.pinned &&
           static_cast<const char*>(data) < static_cast<const char*>(begin) + block.bytes;
  }
  bool is_device(const void* data) const {
    const auto next = blocks.upper_bound(data);
    if (next == blocks.begin()) return false;
    const auto& [begin, block] = *std::prev(next);
    return !block.pinned &&
           static_cast<const char*>(data) < static_cast<const char*>(begin) + block.bytes;
  }
  bool records() const {
    return std::any_of(streams.begin(), streams.end(),
                       [](cudaStream_t s) { return s->recording != nullptr; });
  }

  static bool is_ready(const Node& node) {
    return std::all_of(node.after.begin(), node.after.end(),
                       [](const NodePtr& n) { return n->done; });
  }

  // Runs what `target` needs, and of the other work as much as the order says.
  void run_until(NodePtr target) {
    if (target == nullptr || target->done) return;
    std::set<const Node*> needed;
    std::vector<const Node*> open{target.get()};
    while (!open.empty()) {
      const Node* node = open.back();
      open.pop_back();
      if (node->done || !needed.insert(node).second) continue;
      for (const NodePtr& before : node->after) open.push_back(before.get());
    }
    while (!target->done) {
      Node* next = nullptr;
      for (const NodePtr& node : pending) {
        if (!is_ready(*node)) continue;
        const bool side = node->stream != 0;
        if (order == SideOrder::kSideLast && needed.count(node.get()) == 0) continue;
        const bool preferred = side == (order == SideOrder::kSideFirst);
        if (next == nullptr || preferred) next = node.get();
        if (preferred) break;
      }
      if (next == nullptr) std::abort();  // the double itself is wrong: an event waits for itself
      finish(next);
    }
  }
  void finish(Node* node) {
    if (node->work) node->work();
    node->done = true;
    node->work = nullptr;
    node->after.clear();
    pending.erase(std::find_if(pending.begin(), pending.end(),
                               [&](const NodePtr& n) { return n.get() == node; }));
  }
  void run_all() {
    while (!pending.empty()) run_until(pending.back());
  }

  NodePtr add(cudaStream_t stream, std::function<void()> work) {
    auto node = std::make_shared<Node>();
    node->work = std::move(work);
    node->stream = stream->index;
    node->after = std::move(stream->waits);
    stream->waits.clear();
    if (stream->last) node->after.push_back(stream->last);
    stream->last = node;
    if (stream->recording) {
      stream->recording->nodes.push_back(node);
    } else {
      pending.push_back(node);
    }
    return node;
  }

  cudaError_t allocate(void** data, size_t bytes, bool pinned) {
    *data = nullptr;
    if (const cudaError_t error = count(pinned ? "cudaMallocHost" : "cudaMalloc")) return error;
    if (records()) return cudaErrorStreamCaptureUnsupported;
    DeviceDouble& d = device();
    DeviceDouble::Count& counted = pinned ? d.pinned_ : d.device_;
    const uint64_t taken = device_bytes(bytes);
    if (!pinned && counted.now + taken > d.capacity_) return cudaErrorMemoryAllocation;
    *data = d.computes_ ? std::aligned_alloc(512, align_up(bytes, 512)) : std::calloc(bytes, 1);
    if (*data == nullptr) return cudaErrorMemoryAllocation;
    if (d.computes_) poison(*data, bytes);
    blocks[*data] = {bytes, taken, pinned};
    counted.now += taken;
    counted.peak = std::max(counted.peak, counted.now);
    ++counted.blocks;
    return cudaSuccess;
  }
  cudaError_t release(void* data) {
    if (data == nullptr) return cudaSuccess;
    const auto found = blocks.find(data);
    if (found == blocks.end()) return cudaErrorInvalidValue;
    run_all();  // as a driver does
    DeviceDouble::Count& counted = found->second.pinned ? device().pinned_ : device().device_;
    counted.now -= found->second.counted;
    --counted.blocks;
    if (device().computes_) poison(data, found->second.bytes);
    blocks.erase(found);
    std::free(data);
    return cudaSuccess;
  }
  // NaNs of every float type; of a large block, whose middle is a library's workspace, both ends.
  static void poison(void* data, size_t bytes) {
    constexpr size_t kEnd = size_t{4} << 20;
    auto* const bytes_of = static_cast<unsigned char*>(data);
    std::memset(bytes_of, 0xFF, std::min(bytes, kEnd));
    if (bytes > kEnd) {
      const size_t rest = std::min(bytes - kEnd, kEnd);
      std::memset(bytes_of + bytes - rest, 0xFF, rest);
    }
  }

  cudaError_t copy(void* target, const void* source, cudaMemcpyKind kind, cudaStream_t stream,
                   size_t bytes, size_t rows, size_t target_stride, size_t source_stride) {
    if (const cudaError_t error = count("cudaMemcpyAsync")) return error;
    const bool to_device = kind != cudaMemcpyDeviceToHost;
    const bool from_device = kind != cudaMemcpyHostToDevice;
    if ((to_device && !is_device(target)) || (from_device && !is_device(source)))
      return cudaErrorInvalidValue;
    note(std::to_string(stream->index) + (kind == cudaMemcpyHostToDevice   ? " copy"
                                          : kind == cudaMemcpyDeviceToHost ? " read"
                                                                           : " copy inside"));
    const auto rows_of = [=](const char* from) {
      for (size_t row = 0; row < rows; ++row)
        std::memcpy(static_cast<char*>(target) + row * target_stride, from + row * source_stride,
                    bytes);
    };
    if (kind == cudaMemcpyHostToDevice && !is_pinned(source)) {
      if (stream->recording) return cudaErrorStreamCaptureUnsupported;
      // Pageable memory has been read when the call returns.
      auto copied = std::make_shared<std::vector<char>>(
          static_cast<const char*>(source),
          static_cast<const char*>(source) + (rows - 1) * source_stride + bytes);
      add(stream, [=] { rows_of(copied->data()); });
      return cudaSuccess;
    }
    const NodePtr node = add(stream, [=] { rows_of(static_cast<const char*>(source)); });
    if (kind == cudaMemcpyDeviceToHost && !is_pinned(target)) {
      if (stream->recording) return cudaErrorStreamCaptureUnsupported;
      run_until(node);  // pageable memory has been written when the call returns
    }
    return cudaSuccess;
  }

  cudaError_t wait(cudaStream_t stream, cudaEvent_t event) {
    if (const cudaError_t error = count("cudaStreamWaitEvent")) return error;
    if (event->node == nullptr && event->recording == nullptr) return cudaSuccess;
    note(std::to_string(stream->index) + " wait " + std::to_string(event->stream));
    if (event->recording != nullptr && event->recording->ended)
      return cudaErrorStreamCaptureIsolation;  // it stands for no work outside of its recording
    if (stream->recording == nullptr && event->recording != nullptr) {
      stream->recording = event->recording;  // the stream becomes part of the recording
      stream->last = nullptr;
    }
    // A recording may not refer to what happened before it.
    if (stream->recording != event->recording) return cudaErrorStreamCaptureIsolation;
    if (event->node) stream->waits.push_back(event->node);
    return cudaSuccess;
  }

  cudaError_t end_recording(cudaStream_t stream, cudaGraph_t* graph) {
    *graph = nullptr;
    const std::shared_ptr<Recorded> recorded = stream->recording;
    std::set<const Node*> joined;
    std::vector<const Node*> open;
    if (stream->last) open.push_back(stream->last.get());
    for (const NodePtr& node : stream->waits) open.push_back(node.get());
    while (!open.empty()) {
      const Node* node = open.back();
      open.pop_back();
      if (!joined.insert(node).second) continue;
      for (const NodePtr& before : node->after) open.push_back(before.get());
    }
    bool all_joined = true;
    for (const NodePtr& node : recorded->nodes) all_joined &= joined.count(node.get()) > 0;
    recorded->ended = true;
    for (cudaStream_t s : streams) {
      if (s->recording != recorded) continue;
      s->recording = nullptr;
      s->last = nullptr;
      s->waits.clear();
    }
    if (const cudaError_t error = count("cudaStreamEndCapture")) return error;
    if (!all_joined) return cudaErrorStreamCaptureUnjoined;
    *graph = new CUgraph_st{recorded};
    made(1);
    return cudaSuccess;
  }

  cudaError_t launch_graph(const Recorded& recorded, cudaStream_t stream) {
    if (const cudaError_t error = count("cudaGraphLaunch")) return error;
    note(std::to_string(stream->index) + " launch graph");
    std::map<const Node*, NodePtr> copies;
    const NodePtr begin = add(stream, nullptr);
    std::vector<NodePtr> all{begin};
    for (const NodePtr& node : recorded.nodes) {
      auto copy = std::make_shared<Node>();
      copy->work = node->work;
      copy->stream = node->stream;
      copy->after.push_back(begin);
      for (const NodePtr& before : node->after) copy->after.push_back(copies.at(before.get()));
      copies[node.get()] = copy;
      pending.push_back(copy);
      all.push_back(copy);
    }
    stream->waits.insert(stream->waits.end(), all.begin(), all.end());
    add(stream, nullptr);
    return cudaSuccess;
  }
};

DeviceDouble& DeviceDouble::instance() {
  static DeviceDouble device;
  return device;
}
DeviceDouble::DeviceDouble() : runtime_(std::make_unique<Runtime>()) {}
DeviceDouble::~DeviceDouble() = default;

void DeviceDouble::restart(SideOrder order) {
  runtime_->run_all();
  runtime_->order = order;
  log_.clear();
  calls_ = 0;
  fail_at_ = -1;
  failed_ = false;
  failed_call_.clear();
  computes_ = true;
  restart_peaks();
}

void DeviceDouble::restart_peaks() {
  device_.peak = device_.now;
  pinned_.peak = pinned_.now;
}

std::vector<int> DeviceDouble::unjoined_streams() const {
  std::vector<int> list;
  if (runtime_->streams.empty()) return list;
  std::set<const Node*> joined;
  std::vector<const Node*> open;
  const cudaStream_t first = runtime_->streams.front();
  if (first->last) open.push_back(first->last.get());
  for (const NodePtr& node : first->waits) open.push_back(node.get());
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (!joined.insert(node).second) continue;
    for (const NodePtr& before : node->after) open.push_back(before.get());
  }
  for (cudaStream_t s : runtime_->streams)
    if (s->last && !s->last->done && joined.count(s->last.get()) == 0) list.push_back(s->index);
  return list;
}

cudaError_t DeviceDouble::launch(cudaStream_t stream, const char* name,
                                 std::function<void()> work) {
  if (const cudaError_t error = Runtime::count(name)) return error;
  Runtime::note(std::to_string(stream->index) + " " + name);
  runtime_->add(stream, computes_ ? std::move(work) : nullptr);
  return cudaSuccess;
}

}  // namespace intaglio::test

using intaglio::test::DeviceDouble;
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
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
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
  const DeviceDouble& d = DeviceDouble::instance();
  *free = d.capacity() - d.device().now;
  *total = d.capacity();
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** data, size_t bytes) {
  return Runtime::get().allocate(data, bytes, false);
}
cudaError_t cudaFree(void* data) { return Runtime::get().release(data); }
cudaError_t cudaMallocHost(void** data, size_t bytes) {
  return Runtime::get().allocate(data, bytes, true);
}
cudaError_t cudaFreeHost(void* data) { return Runtime::get().release(data); }

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  return Runtime::get().copy(target, source, kind, stream, bytes, 1, bytes, bytes);
}
cudaError_t cudaMemcpy2DAsync(void* target, size_t target_stride, const void* source,
                              size_t source_stride, size_t bytes, size_t rows, cudaMemcpyKind kind,
                              cudaStream_t stream) {
  return Runtime::get().copy(target, source, kind, stream, bytes, rows, target_stride,
                             source_stride);
}
cudaError_t cudaMemsetAsync(void* target, int value, size_t bytes, cudaStream_t stream) {
  return DeviceDouble::instance().launch(stream, "fill",
                                         [=] { std::memset(target, value, bytes); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  if (const cudaError_t error = Runtime::count("cudaStreamCreateWithFlags")) return error;
  Runtime& r = Runtime::get();
  *stream = new CUstream_st{};
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
  Runtime& r = Runtime::get();
  r.run_all();
  r.streams.erase(std::find(r.streams.begin(), r.streams.end(), stream));
  delete stream;
  Runtime::made(-1);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t error = Runtime::count("cudaStreamSynchronize")) return error;
  if (stream->recording) return cudaErrorStreamCaptureUnsupported;
  Runtime& r = Runtime::get();
  if (!stream->waits.empty()) r.add(stream, nullptr);
  r.run_until(stream->last);
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  return Runtime::get().wait(stream, event);
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  if (const cudaError_t error = Runtime::count("mark: cudaEventCreate")) return error;
  *event = new CUevent_st{};
  (*event)->is_mark = true;
  Runtime::made(1);
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (const cudaError_t error = Runtime::count("cudaEventCreateWithFlags")) return error;
  *event = new CUevent_st{};
  Runtime::made(1);
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  Runtime::made(-1);
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const char* const name = event->is_mark ? "mark: cudaEventRecord" : "cudaEventRecord";
  if (const cudaError_t error = Runtime::count(name)) return error;
  event->node = Runtime::get().add(stream, nullptr);
  event->stream = stream->index;
  event->recording = stream->recording;
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  Runtime::get().run_until(event->node);
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaEventSynchronize(event); }
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t) {
  *ms = 1.0f;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (const cudaError_t error = Runtime::count("cudaStreamBeginCapture")) return error;
  Runtime::get().run_all();  // what follows the recording refers to none of it
  stream->recording = std::make_shared<Recorded>();
  stream->last = nullptr;
  stream->waits.clear();
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = stream->recording ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  return Runtime::get().end_recording(stream, graph);
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  if (graph == nullptr) return cudaErrorInvalidValue;
  delete graph;
  Runtime::made(-1);
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  if (const cudaError_t error = Runtime::count("cudaGraphInstantiate")) return error;
  *executable = new CUgraphExec_st{graph->recorded};
  Runtime::made(1);
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  Runtime::made(-1);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  return Runtime::get().launch_graph(*executable->recorded, stream);
}
