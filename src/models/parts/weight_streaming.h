// Weights that do not fit on the device wait in pinned host memory and are copied, ahead of the
// compute, into a few slots on the device that the layers take in turns. With two slots:
//
//   compute   [ 0 ][ 1 ][ 2*][ 3 ][ 4 ][ 5*][ 6 ][ 7 ][ 8*]        * a streamed layer
//   copies    [ 2 -> slot 0 ][ 5 -> slot 1 ] [ 8 -> slot 0 ]       layer 8's waits until layer 2 has been computed
//
// A pass takes as long as its compute or as its copies, whichever is longer, plus little: streamed
// layers are spread evenly over the model, so the copies never come in a crowd.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/context.h"
#include "core/copy_queue.h"
#include "core/status.h"
#include "ops/linear.h"

namespace intaglio {

inline constexpr size_t kStreamSlots = 2;  // as many as it takes for a copy beside a compute
inline constexpr size_t kStreamedAlignment = 256;  // of each weight in a slot

// What an allocation takes of a GPU's memory: small ones share granules of 2 MiB, larger ones are
// made of them.
constexpr uint64_t device_bytes(uint64_t bytes) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  return align_up(bytes, bytes <= kMiB ? 512 : 2 * kMiB);
}

// Bytes of a GPU's memory that the packed weights of a linear take, and their scales.
uint64_t packed_bytes(const LinearDesc& linear);
uint64_t scale_bytes(const LinearDesc& linear);

// Which layers of a model stream if `streamed` of them do: the last one of each of so many groups
// of nearly equal size. The first copy then has the layers before it to hide behind.
std::vector<bool> spread_streamed(size_t layers, size_t streamed);

struct StreamingChoice {
  std::vector<bool> streams;  // by layer
  size_t count = 0;           // of streamed layers
  uint64_t resident_bytes = 0, streamed_bytes = 0;
  uint64_t slot_bytes = 0;  // of the largest streamed layer
};

// The fewest layers whose streaming leaves the others within `budget` bytes. 0: all are resident.
StreamingChoice choose_streamed(std::span<const uint64_t> layer_bytes, uint64_t budget);

// The weights of a layer in host memory, and their places in its slot.
struct StreamedLayer {
  struct Part {
    AlignedBuffer host;  // pinned
    size_t at = 0;       // bytes from the slot's begin
  };
  std::vector<Part> parts;
  size_t slot = 0;
  int64_t layer = 0;  // of the model

  size_t slot_bytes() const {
    return parts.empty() ? 0
                         : parts.back().at + align_up(parts.back().host.size(), kStreamedAlignment);
  }
  size_t bytes() const;
};

// The slots and the queue of copies into them. Models whose passes follow one another on one stream
// may share it.
class WeightStreamer {
 public:
  // Takes slots * slot_bytes of the device's memory.
  static Expected<std::shared_ptr<WeightStreamer>> make(const Context& context, size_t slots,
                                                        size_t slot_bytes);
  WeightStreamer(std::unique_ptr<CopyQueue> queue, std::vector<AlignedBuffer> slots)
      : slots_(std::move(slots)), queue_(std::move(queue)) {}

  size_t slots() const { return slots_.size(); }
  size_t slot_bytes() const { return slots_.front().size(); }
  size_t device_bytes() const { return slots() * slot_bytes(); }

  // Moves the packed weights of `weights` to `layer`; from now on the linear reads them at their
  // place in the layer's slot. kOutOfMemory if the slot is too small.
  Status take(const Context& context, LinearWeights& weights, StreamedLayer& layer) const;

 private:
  friend class StreamPass;
  std::vector<AlignedBuffer> slots_;
  std::unique_ptr<CopyQueue> queue_;  // its end waits for copies into the slots
};

// One pass through the streamed layers of a model, in their order:
//   begin, then for each of them acquire, its compute, release, then end. Without layers these do
//   nothing. Nothing is copied before `begin` or after `end`: all of a pass can be recorded and
//   replayed. One that stops early ends itself.
class StreamPass {
 public:
  // `streamer` may be null without layers; all three outlive the pass.
  StreamPass(const Context& context, WeightStreamer* streamer,
             std::span<const StreamedLayer> layers)
      : context_(context), streamer_(streamer), layers_(layers) {}
  ~StreamPass();
  StreamPass(const StreamPass&) = delete;
  StreamPass& operator=(const StreamPass&) = delete;

  Status begin();
  Status acquire();
  Status release();
  Status end();

 private:
  Status push();

  const Context& context_;
  WeightStreamer* streamer_;
  std::span<const StreamedLayer> layers_;
  size_t pushed_ = 0;    // layers whose copies have been given to the queue
  size_t released_ = 0;  // layers that have been computed
  bool open_ = false;
};

}  // namespace intaglio
