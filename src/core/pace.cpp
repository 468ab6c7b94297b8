#include "core/pace.h"

#include <chrono>
#include <thread>

#if defined(INTAGLIO_HAS_CUDA)
#include "core/cuda/stream.h"
#endif

namespace intaglio {

#if defined(INTAGLIO_HAS_CUDA)

namespace {

constexpr size_t kPiecesAhead = 2;
// Short beside a layer of any picture for which waiting matters.
constexpr auto kLook = std::chrono::microseconds(50);

}  // namespace

Pace::Pace(const Context& context)
    : context_(context), waits_(context.gpu != nullptr && !cuda::is_recording(context.stream)) {}

Pace::~Pace() {
  for (void* mark : marks_) cuda::free_event(mark);
}

Status Pace::next() {
  INTAGLIO_TRY(check_cancelled(context_));
  if (!waits_) return {};
  if (marks_.size() >= kPiecesAhead) INTAGLIO_TRY(wait_for_oldest());
  if (void* const mark = cuda::record_event(context_.stream); mark != nullptr)
    marks_.push_back(mark);
  return {};
}

Status Pace::wait_for_oldest() {
  while (!cuda::has_happened(marks_.front())) {
    INTAGLIO_TRY(check_cancelled(context_));
    std::this_thread::sleep_for(kLook);
  }
  cuda::free_event(marks_.front());
  marks_.pop_front();
  return {};
}

#else

Pace::Pace(const Context& context) : context_(context) {}
Pace::~Pace() = default;
Status Pace::next() { return check_cancelled(context_); }

#endif

}  // namespace intaglio
