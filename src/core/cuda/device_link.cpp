#include "core/cuda/device_link.h"

#include <cuda_runtime_api.h>

#include <cstdlib>
#include <string_view>

#include "core/cuda/device.h"
#include "core/cuda/device_memory.h"
#include "core/cuda/event.h"
#include "core/cuda/stream.h"

namespace intaglio::cuda {
namespace {

// An event is of the device that it was made on, and is recorded on that device's streams alone.
struct Ends {
  Context from, to;
  Event sent;  // of `from`
};

// The receiving card fetches what it is to have.
class PeerLink : public DeviceLink {
 public:
  PeerLink(Ends ends, Event read) : ends_(std::move(ends)), read_(std::move(read)) {}
  ~PeerLink() override { cudaStreamSynchronize(static_cast<cudaStream_t>(ends_.to.stream)); }

  Status copy(void* target, const void* source, size_t bytes) override {
    const auto& [from, to, sent] = ends_;
    INTAGLIO_TRY(sent.record(from.stream));
    INTAGLIO_TRY(sent.wait(to.stream));
    INTAGLIO_TRY(
        device_status(cudaMemcpyPeerAsync(target, to.gpu->ordinal, source, from.gpu->ordinal, bytes,
                                          static_cast<cudaStream_t>(to.stream)),
                      "cudaMemcpyPeerAsync"));
    has_read_ = true;
    return read_.record(to.stream);
  }
  Status wait_for_reads() override { return has_read_ ? read_.wait(ends_.from.stream) : Status(); }

 private:
  Ends ends_;
  Event read_;  // of `to`
  bool has_read_ = false;
};

// Both cards reach pinned memory. The next copy may not overwrite it before it has been read.
class HostLink : public DeviceLink {
 public:
  HostLink(Ends ends, Event read, AlignedBuffer pinned)
      : ends_(std::move(ends)), read_(std::move(read)), pinned_(std::move(pinned)) {}
  ~HostLink() override {
    for (const Context* end : {&ends_.from, &ends_.to})
      cudaStreamSynchronize(static_cast<cudaStream_t>(end->stream));
  }

  Status copy(void* target, const void* source, size_t bytes) override {
    const auto& [from, to, sent] = ends_;
    if (bytes > pinned_.size())
      return make_error(ErrorCode::kInternal, "a link of {} bytes is given {}", pinned_.size(),
                        bytes);
    if (has_read_) INTAGLIO_TRY(read_.wait(from.stream));
    INTAGLIO_TRY(
        device_status(cudaMemcpyAsync(pinned_.data(), source, bytes, cudaMemcpyDeviceToHost,
                                      static_cast<cudaStream_t>(from.stream)),
                      "cudaMemcpyAsync from the device"));
    INTAGLIO_TRY(sent.record(from.stream));
    INTAGLIO_TRY(sent.wait(to.stream));
    INTAGLIO_TRY(copy_to_device(target, pinned_.data(), bytes, to.stream));
    has_read_ = true;
    return read_.record(to.stream);
  }
  Status wait_for_reads() override { return {}; }  // its own stream has read

 private:
  Ends ends_;
  Event read_;  // of `to`
  AlignedBuffer pinned_;
  bool has_read_ = false;
};

// INTAGLIO_GPU_LINK=host: by way of the host even so, for machines whose cards copy wrongly.
bool kept_to_host() {
  const char* value = std::getenv("INTAGLIO_GPU_LINK");
  return value != nullptr && std::string_view(value) == "host";
}

// Whether the card of `to` could read the memory of `from`'s.
Expected<bool> can_reach(const Context& to, const Context& from) {
  if (kept_to_host()) return false;
  if (to.gpu->ordinal == from.gpu->ordinal) return true;
  int can = 0;
  INTAGLIO_TRY(device_status(cudaDeviceCanAccessPeer(&can, to.gpu->ordinal, from.gpu->ordinal),
                             "cudaDeviceCanAccessPeer"));
  return can != 0;
}

// The same; it may from then on, until the process ends. The current device is `to`'s.
Expected<bool> reaches(const Context& to, const Context& from) {
  INTAGLIO_ASSIGN(const bool can, can_reach(to, from));
  if (!can || to.gpu->ordinal == from.gpu->ordinal) return can;
  const cudaError_t enabled = cudaDeviceEnablePeerAccess(from.gpu->ordinal, 0);
  if (enabled == cudaSuccess) return true;
  cudaGetLastError();  // it is not sticky, but the next check would report it
  return enabled == cudaErrorPeerAccessAlreadyEnabled;
}

Expected<std::unique_ptr<DeviceLink>> link_of(const Context& from, const Context& to,
                                              size_t most_bytes) {
  INTAGLIO_TRY(use_device(from.gpu->ordinal));
  INTAGLIO_ASSIGN(Event sent, Event::make());
  Ends ends{from, to, std::move(sent)};
  INTAGLIO_TRY(use_device(to.gpu->ordinal));
  INTAGLIO_ASSIGN(const bool direct, reaches(to, from));
  INTAGLIO_ASSIGN(Event read, Event::make());
  if (direct) return std::make_unique<PeerLink>(std::move(ends), std::move(read));
  INTAGLIO_ASSIGN(AlignedBuffer pinned, allocate_pinned_memory(most_bytes));
  return std::make_unique<HostLink>(std::move(ends), std::move(read), std::move(pinned));
}

}  // namespace

Expected<std::unique_ptr<DeviceLink>> make_device_link(const Context& from, const Context& to,
                                                       size_t most_bytes) {
  int before = 0;
  INTAGLIO_TRY(device_status(cudaGetDevice(&before), "cudaGetDevice"));
  auto link = link_of(from, to, most_bytes);
  INTAGLIO_TRY(use_device(before));
  return link;
}

Expected<bool> reach_each_other(const Context& a, const Context& b) {
  INTAGLIO_ASSIGN(const bool there, can_reach(a, b));
  INTAGLIO_ASSIGN(const bool back, can_reach(b, a));
  return there && back;
}

}  // namespace intaglio::cuda
