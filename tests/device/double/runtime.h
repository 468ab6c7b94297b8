// What the made-up cards' runtime holds and does: device_double.h. Calls of it: cuda_calls.cpp.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/aligned_buffer.h"
#include "device/double/device_double.h"
#include "device/double/recorded_work.h"
#include "models/parts/weight_streaming.h"

struct CUstream_st {
  int index = 0, device = 0;
  NodePtr last;                // of the work given so far
  std::vector<NodePtr> waits;  // for the next piece
  std::shared_ptr<Recorded> recording;
};
struct CUevent_st {
  NodePtr node;  // what the stream had been given when it was recorded
  int stream = -1, device = 0;
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

// Every call lasts as long as one of these: the cards do one thing at a time.
class OneCall {
 public:
  OneCall() : lock_(mutex()) {}

 private:
  static std::recursive_mutex& mutex() {
    static std::recursive_mutex one;
    return one;
  }
  const std::scoped_lock<std::recursive_mutex> lock_;
};

// Of the calling thread.
inline int& current_device() {
  thread_local int device = 0;
  return device;
}

constexpr int kPinned = -1, kNoBlock = -2;

struct Runtime {
  struct Block {
    size_t bytes = 0;
    uint64_t counted = 0;
    int device = 0;        // or kPinned
    bool guarded = false;  // pages of its own
  };
  SideOrder order = SideOrder::kSideLast;
  std::map<const void*, Block> blocks;
  std::vector<cudaStream_t> streams;
  std::vector<NodePtr> pending;  // in the order they were given
  std::optional<int> opened;     // open_to

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

  // The device whose memory it is, kPinned, or kNoBlock.
  int device_of(const void* data) const {
    const auto next = blocks.upper_bound(data);
    if (next == blocks.begin()) return kNoBlock;
    const auto& [begin, block] = *std::prev(next);
    const bool inside =
        static_cast<const char*>(data) < static_cast<const char*>(begin) + block.bytes;
    return inside ? block.device : kNoBlock;
  }
  bool is_pinned(const void* data) const { return device_of(data) == kPinned; }
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
    if (node->work) {
      open_to(node->device);
      node->work();
    }
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
    node->device = stream->device;
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

  static DeviceDouble::Count& count_of(int device) {
    DeviceDouble& d = Runtime::device();
    return device == kPinned ? d.pinned_ : d.devices_[static_cast<size_t>(device)];
  }
  cudaError_t allocate(void** data, size_t bytes, bool pinned) {
    *data = nullptr;
    if (const cudaError_t error = count(pinned ? "cudaMallocHost" : "cudaMalloc")) return error;
    if (records()) return cudaErrorStreamCaptureUnsupported;
    DeviceDouble& d = device();
    DeviceDouble::Count& counted = count_of(pinned ? kPinned : current_device());
    const uint64_t taken = device_bytes(bytes);
    if (!pinned && counted.now + taken > d.capacity_) return cudaErrorMemoryAllocation;
    const bool guarded = d.guarded_ && !pinned;
    *data = guarded       ? pages(bytes)
            : d.computes_ ? std::aligned_alloc(512, align_up(bytes, 512))
                          : std::calloc(bytes, 1);
    if (*data == nullptr) return cudaErrorMemoryAllocation;
    if (d.computes_) poison(*data, bytes);
    blocks[*data] = {bytes, taken, pinned ? kPinned : current_device(), guarded};
    opened.reset();
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
    DeviceDouble::Count& counted = count_of(found->second.device);
    counted.now -= found->second.counted;
    --counted.blocks;
    const Block block = found->second;
    blocks.erase(found);
    if (block.guarded) {
      ::munmap(data, block.bytes);
      return cudaSuccess;
    }
    if (device().computes_) poison(data, block.bytes);
    std::free(data);
    return cudaSuccess;
  }
  // Nullptr where there are none.
  static void* pages(size_t bytes) {
    void* const data =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return data == MAP_FAILED ? nullptr : data;
  }
  // Guarded memory of the other card is nobody's until work for it comes.
  void open_to(int device) {
    if (opened == device) return;
    for (const auto& [data, block] : blocks) {
      if (!block.guarded) continue;
      const bool may = device == kBothCards || block.device == device;
      ::mprotect(const_cast<void*>(data), block.bytes, may ? PROT_READ | PROT_WRITE : PROT_NONE);
    }
    opened = device;
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
    if ((to_device && device_of(target) != stream->device) ||
        (from_device && device_of(source) != stream->device))
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

  cudaError_t copy_to_peer(void* target, int target_device, const void* source, int source_device,
                           size_t bytes, cudaStream_t stream) {
    if (const cudaError_t error = count("cudaMemcpyPeerAsync")) return error;
    if (device_of(target) != target_device || device_of(source) != source_device)
      return cudaErrorInvalidValue;
    ++device().peer_copies_;
    note(std::to_string(stream->index) + " copy from peer");
    add(stream, [=] { std::memcpy(target, source, bytes); })->device = kBothCards;
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
      copy->device = node->device;
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

}  // namespace intaglio::test
