// What a pass, or a rank's part of one, that runs on another GPU than its sampler reads and writes
// there: the latents of a step, which are sent, and the velocity, which is received.
//
// Who waits for whom in a step: docs/several-cards.md.
#pragma once

#include <memory>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/device_link.h"
#include "core/status.h"

namespace intaglio {

class PassAway {
 public:
  // Both contexts outlive it. What is there is kept where it is of the right size.
  Status prepare(const Context& home, const Context& away, size_t bytes);

  // Its own, with another flag that stops its work: refreshed by `begin`.
  const Context& context() const { return context_; }
  void begin(const std::atomic<bool>* cancel);
  float* latents() const { return latents_.as<float>(); }
  float* velocity() const { return velocity_.as<float>(); }

  // From `latents` of the home GPU, to `velocity` of it:
  Status send(const float* latents);
  // `count` values from `first` on, to the same place.
  Status receive(float* velocity, int64_t first, int64_t count);

 private:
  const Context* away_ = nullptr;
  Context context_;
  AlignedBuffer latents_, velocity_;                // F32 [image_tokens, channels], of the away GPU
  std::unique_ptr<DeviceLink> forward_, backward_;  // they go first: they wait for their copies
};

}  // namespace intaglio
