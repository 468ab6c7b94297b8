#include "core/cuda/copy_queue.h"

#include <vector>

#include "core/cuda/device_memory.h"
#include "core/cuda/event.h"
#include "core/cuda/side_stream.h"

namespace intaglio::cuda {
namespace {

class StreamCopyQueue : public CopyQueue {
 public:
  explicit StreamCopyQueue(std::unique_ptr<SideStream> side) : side_(std::move(side)) {}

  Status add_slots(size_t slots) {
    for (size_t i = 0; i < slots; ++i) {
      INTAGLIO_ASSIGN(Event full, Event::make());
      INTAGLIO_ASSIGN(Event free, Event::make());
      full_.push_back(std::move(full));
      free_.push_back(std::move(free));
    }
    return {};
  }

  Status fork(const Context& context) override { return side_->fork(context); }
  Status join(const Context& context) override { return side_->join(context); }
  Status copy(void* target, const void* host, size_t bytes) override {
    return copy_to_device(target, host, bytes, side_->stream());
  }
  Status mark_full(size_t slot) override { return full_[slot].record(side_->stream()); }
  Status wait_full(const Context& context, size_t slot) override {
    return full_[slot].wait(context.stream);
  }
  Status mark_free(const Context& context, size_t slot) override {
    return free_[slot].record(context.stream);
  }
  Status wait_free(size_t slot) override { return free_[slot].wait(side_->stream()); }

 private:
  std::vector<Event> full_, free_;    // one a slot
  std::unique_ptr<SideStream> side_;  // goes first: it waits for what is under way
};

}  // namespace

Expected<std::unique_ptr<CopyQueue>> make_copy_queue(size_t slots) {
  INTAGLIO_ASSIGN(std::unique_ptr<SideStream> side, make_side_stream());
  auto queue = std::make_unique<StreamCopyQueue>(std::move(side));
  INTAGLIO_TRY(queue->add_slots(slots));
  return std::unique_ptr<CopyQueue>(std::move(queue));
}

}  // namespace intaglio::cuda
