#include "core/cuda/side_stream.h"

#include "core/cuda/event.h"
#include "core/cuda/stream.h"

namespace intaglio::cuda {
namespace {

class EventedStream : public SideStream {
 public:
  EventedStream(std::shared_ptr<void> stream, Event forked, Event joined)
      : stream_(std::move(stream)), forked_(std::move(forked)), joined_(std::move(joined)) {}
  // What is still under way uses memory that its owner may free next.
  ~EventedStream() override { cudaStreamSynchronize(static_cast<cudaStream_t>(stream_.get())); }

  void* stream() const override { return stream_.get(); }
  Status fork(const Context& context) override {
    INTAGLIO_TRY(forked_.record(context.stream));
    return forked_.wait(stream_.get());
  }
  Status join(const Context& context) override {
    const Status joined =
        joined_.record(stream_.get()).and_then([&] { return joined_.wait(context.stream); });
    // Where the order could not be given the work is waited for: the caller gives up, and its
    // memory is freed or filled next.
    if (!joined) cudaStreamSynchronize(static_cast<cudaStream_t>(stream_.get()));
    return joined;
  }

 private:
  std::shared_ptr<void> stream_;
  Event forked_, joined_;
};

}  // namespace

Expected<std::unique_ptr<SideStream>> make_side_stream() {
  INTAGLIO_ASSIGN(std::shared_ptr<void> stream, make_stream());
  INTAGLIO_ASSIGN(Event forked, Event::make());
  INTAGLIO_ASSIGN(Event joined, Event::make());
  return std::make_unique<EventedStream>(std::move(stream), std::move(forked), std::move(joined));
}

}  // namespace intaglio::cuda
