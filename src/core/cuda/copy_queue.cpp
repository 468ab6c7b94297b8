#include "core/cuda/copy_queue.h"

#include <cuda_runtime_api.h>

#include <vector>

#include "core/cuda/device_memory.h"
#include "core/cuda/event.h"
#include "core/cuda/stream.h"

namespace intaglio::cuda {
namespace {

class StreamCopyQueue : public CopyQueue {
 public:
  StreamCopyQueue(std::shared_ptr<void> stream, Event forked, Event joined)
      : stream_(std::move(stream)), forked_(std::move(forked)), joined_(std::move(joined)) {}
  // What is still under way reads memory that its owner may free next.
  ~StreamCopyQueue() override { cudaStreamSynchronize(static_cast<cudaStream_t>(stream_.get())); }

  Status add_slots(size_t slots) {
    for (size_t i = 0; i < slots; ++i) {
      INTAGLIO_ASSIGN(Event full, Event::make());
      INTAGLIO_ASSIGN(Event free, Event::make());
      full_.push_back(std::move(full));
      free_.push_back(std::move(free));
    }
    return {};
  }

  Status fork(const Context& context) override {
    INTAGLIO_TRY(forked_.record(context.stream));
    return forked_.wait(stream_.get());
  }
  Status join(const Context& context) override {
    INTAGLIO_TRY(joined_.record(stream_.get()));
    return joined_.wait(context.stream);
  }
  Status copy(void* target, const void* host, size_t bytes) override {
    return copy_to_device(target, host, bytes, stream_.get());
  }
  Status mark_full(size_t slot) override { return full_[slot].record(stream_.get()); }
  Status wait_full(const Context& context, size_t slot) override {
    return full_[slot].wait(context.stream);
  }
  Status mark_free(const Context& context, size_t slot) override {
    return free_[slot].record(context.stream);
  }
  Status wait_free(size_t slot) override { return free_[slot].wait(stream_.get()); }

 private:
  std::shared_ptr<void> stream_;
  Event forked_, joined_;
  std::vector<Event> full_, free_;  // one a slot
};

}  // namespace

Expected<std::unique_ptr<CopyQueue>> make_copy_queue(size_t slots) {
  INTAGLIO_ASSIGN(std::shared_ptr<void> stream, make_stream());
  INTAGLIO_ASSIGN(Event forked, Event::make());
  INTAGLIO_ASSIGN(Event joined, Event::make());
  auto queue =
      std::make_unique<StreamCopyQueue>(std::move(stream), std::move(forked), std::move(joined));
  INTAGLIO_TRY(queue->add_slots(slots));
  return std::unique_ptr<CopyQueue>(std::move(queue));
}

}  // namespace intaglio::cuda
