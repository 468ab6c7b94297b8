#include "core/cuda/nccl_group.h"

#include <dlfcn.h>

#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/collective_rank.h"
#include "core/cuda/device.h"
#include "core/cuda/library_symbol.h"
#include "core/cuda/stream.h"
#include "core/memory.h"

namespace intaglio::cuda {
namespace {

constexpr int kSuccess = 0, kBytes = 0;  // ncclSuccess, ncclInt8

NcclLibrary open_library() {
  NcclLibrary library;
  // Never closed: a library with a CUDA context behind it does not unload cleanly.
  void* const handle = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* const reason = dlerror();
    library.problem = std::string("NCCL was not found: ") + (reason != nullptr ? reason : "");
    return library;
  }
  const auto find = [&](const char* name, auto& function) {
    find_symbol(handle, "NCCL", name, function, library.problem);
  };
  find("ncclGetErrorString", library.error_string);
  find("ncclCommInitAll", library.init_all);
  find("ncclCommDestroy", library.destroy);
  find("ncclCommAbort", library.abort);
  find("ncclGroupStart", library.group_start);
  find("ncclGroupEnd", library.group_end);
  find("ncclSend", library.send);
  find("ncclRecv", library.receive);
  return library;
}

class NcclGroup final : public CollectiveGroup {
 public:
  NcclGroup(std::span<const Context* const> contexts, const NcclLibrary& library) : nccl_(library) {
    ranks_.reserve(contexts.size());
    for (const Context* context : contexts) {
      ordinals_.push_back(context->gpu->ordinal);
      ranks_.emplace_back(*this, static_cast<int>(ranks_.size()));
    }
  }
  ~NcclGroup() override {
    for (const NcclLibrary::Communicator c : communicators_) nccl_.destroy(c);
  }

  int size() const override { return static_cast<int>(ranks_.size()); }
  Collective& rank(int index) override { return ranks_[static_cast<size_t>(index)]; }

  // Whatever waits on a device for a rank that sends no more ends with its communicator.
  void abort() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const Communicator c : communicators_) nccl_.abort(c);
    communicators_.clear();
  }

  Status restart() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!communicators_.empty()) return {};
    int before = 0;
    INTAGLIO_TRY(device_status(cudaGetDevice(&before), "cudaGetDevice"));
    std::vector<Communicator> made(ranks_.size());
    const int result = nccl_.init_all(made.data(), size(), ordinals_.data());
    INTAGLIO_TRY(use_device(before));
    if (result != kSuccess)
      return make_error(ErrorCode::kDevice, "ncclCommInitAll: {}", nccl_.error_string(result));
    communicators_ = std::move(made);
    return {};
  }

 private:
  using Communicator = NcclLibrary::Communicator;
  using Sent = Collective::Sent;
  using Received = Collective::Received;

  using Rank = CollectiveRank<NcclGroup>;
  friend Rank;

  // Of a call; where another rank has ended it, that one's error is the one to tell.
  Status status_of(int result, const char* what) {
    if (result == kSuccess) return {};
    const std::lock_guard<std::mutex> lock(mutex_);
    if (communicators_.empty()) return aborted();
    return make_error(ErrorCode::kDevice, "{}: {}", what, nccl_.error_string(result));
  }
  static tl::unexpected<Error> aborted() {
    return make_error(ErrorCode::kCancelled, "another device has stopped");
  }

  Expected<Communicator> communicator(int rank) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (communicators_.empty()) return aborted();
    return communicators_[static_cast<size_t>(rank)];
  }

  Status all_to_all(const Context& context, int rank, std::span<const Sent> sent,
                    std::span<const Received> received) {
    INTAGLIO_TRY(check_cancelled(context));
    INTAGLIO_ASSIGN(const Communicator c, communicator(rank));
    INTAGLIO_TRY(copy_own(context, rank, sent, received));
    const auto stream = static_cast<cudaStream_t>(context.stream);
    INTAGLIO_TRY(status_of(nccl_.group_start(), "ncclGroupStart"));
    int result = kSuccess;
    for (const Sent& piece : sent)
      if (piece.to != rank && piece.bytes > 0 && result == kSuccess)
        result = nccl_.send(piece.data, piece.bytes, kBytes, piece.to, c, stream);
    for (const Received& piece : received)
      if (piece.from != rank && piece.bytes > 0 && result == kSuccess)
        result = nccl_.receive(piece.data, piece.bytes, kBytes, piece.from, c, stream);
    const int ended = nccl_.group_end();
    return status_of(result != kSuccess ? result : ended, "ncclSend and ncclRecv");
  }

  // What a rank sends to itself.
  static Status copy_own(const Context& context, int rank, std::span<const Sent> sent,
                         std::span<const Received> received) {
    size_t next = 0;
    for (const Received& piece : received) {
      if (piece.from != rank) continue;
      while (next < sent.size() && sent[next].to != rank) ++next;
      if (next == sent.size() || sent[next].bytes != piece.bytes)
        return make_error(ErrorCode::kInternal,
                          "rank {} expects a piece of {} bytes of its own, which it does not send",
                          rank, piece.bytes);
      INTAGLIO_TRY(copy_inside(context, piece.data, sent[next++].data, piece.bytes));
    }
    return {};
  }

  const NcclLibrary& nccl_;
  std::vector<int> ordinals_;
  std::vector<Rank> ranks_;
  std::mutex mutex_;
  std::vector<Communicator> communicators_;  // empty: aborted
};

}  // namespace

const NcclLibrary& nccl_library() {
  static const NcclLibrary loaded = open_library();
  return loaded;
}

Expected<std::unique_ptr<CollectiveGroup>> make_nccl_group(std::span<const Context* const> contexts,
                                                           const NcclLibrary& library) {
  if (!library.problem.empty()) return make_error(ErrorCode::kUnsupported, "{}", library.problem);
  for (const Context* context : contexts)
    if (context->gpu == nullptr)
      return make_error(ErrorCode::kUnsupported, "NCCL copies between GPUs, found the CPU");
  auto group = std::make_unique<NcclGroup>(contexts, library);
  INTAGLIO_TRY(group->restart());
  return group;
}

}  // namespace intaglio::cuda
