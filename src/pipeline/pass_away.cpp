#include "pipeline/pass_away.h"

#include "core/memory.h"
#include "pipeline/device.h"

namespace intaglio {

Status PassAway::prepare(const Context& home, const Context& away, size_t bytes) {
  away_ = &away;
  begin(away.cancel);
  if (latents_.size() == bytes && backward_ != nullptr) return {};
  forward_.reset();
  backward_.reset();
  latents_ = AlignedBuffer();
  velocity_ = AlignedBuffer();
  INTAGLIO_TRY(on_device(away, home, [&]() -> Status {
    INTAGLIO_ASSIGN(latents_, allocate(away, bytes));
    INTAGLIO_ASSIGN(velocity_, allocate(away, bytes));
    return {};
  }));
  INTAGLIO_ASSIGN(forward_, make_device_link(home, away, bytes));
  INTAGLIO_ASSIGN(backward_, make_device_link(away, home, bytes));
  return {};
}

void PassAway::begin(const std::atomic<bool>* cancel) {
  context_ = *away_;
  context_.cancel = cancel;
}

Status PassAway::send(const float* latents) {
  return forward_->copy(latents_.data(), latents, latents_.size());
}

Status PassAway::receive(float* velocity, int64_t first, int64_t count) {
  if (count == 0) return {};
  return backward_->copy(velocity + first, velocity_.as<float>() + first,
                         static_cast<size_t>(count) * sizeof(float));
}

}  // namespace intaglio
