#include "models/parts/weight_streaming.h"

#include <algorithm>

#include "core/memory.h"

namespace intaglio {

uint64_t packed_bytes(const LinearDesc& linear) {
  const auto elements = static_cast<uint64_t>(linear.n * linear.k);
  switch (kind_at_size(DeviceKind::kGpu, linear.kind, linear.n, linear.k)) {
    case LinearKind::kF32:
      return device_bytes(4 * elements);
    case LinearKind::kBF16:
      return device_bytes(2 * elements);
    case LinearKind::kS8:
    case LinearKind::kS8Dequant:
    case LinearKind::kF8:
      break;
    case LinearKind::kNf4:
      return device_bytes(elements / 2);
  }
  return device_bytes(elements);
}

uint64_t scale_bytes(const LinearDesc& linear) {
  const auto rows = static_cast<uint64_t>(linear.n);
  switch (kind_at_size(DeviceKind::kGpu, linear.kind, linear.n, linear.k)) {
    case LinearKind::kF32:
    case LinearKind::kBF16:
      return 0;
    case LinearKind::kS8:
    case LinearKind::kS8Dequant:
    case LinearKind::kF8:
      break;
    case LinearKind::kNf4:
      return device_bytes(rows * static_cast<uint64_t>(linear.k) / 64 * sizeof(float));
  }
  return device_bytes(rows * sizeof(float));
}

std::vector<bool> spread_streamed(size_t layers, size_t streamed) {
  std::vector<bool> streams(layers, false);
  streamed = std::min(streamed, layers);
  for (size_t i = 1; i <= streamed; ++i) streams[i * layers / streamed - 1] = true;
  return streams;
}

StreamingChoice choose_streamed(std::span<const uint64_t> layer_bytes, uint64_t budget) {
  const auto choice_of = [&](size_t count) {
    StreamingChoice choice{.streams = spread_streamed(layer_bytes.size(), count), .count = count};
    for (size_t i = 0; i < layer_bytes.size(); ++i) {
      if (!choice.streams[i]) {
        choice.resident_bytes += layer_bytes[i];
        continue;
      }
      choice.streamed_bytes += layer_bytes[i];
      choice.slot_bytes = std::max(choice.slot_bytes, layer_bytes[i]);
    }
    return choice;
  };
  StreamingChoice choice = choice_of(0);
  if (budget == 0) return choice;
  // One by one: layers may differ in size, and which ones stream changes with their number.
  for (size_t count = 1; choice.resident_bytes > budget; ++count) choice = choice_of(count);
  return choice;
}

size_t StreamedLayer::bytes() const {
  size_t sum = 0;
  for (const Part& part : parts) sum += part.host.size();
  return sum;
}

Expected<std::shared_ptr<WeightStreamer>> WeightStreamer::make(const Context& context, size_t slots,
                                                               size_t slot_bytes) {
  if (slots < kStreamSlots || slot_bytes == 0) {
    return make_error(ErrorCode::kInvalidArgument,
                      "weight streaming: {} slots of {} bytes, expected at least {}, not empty",
                      slots, slot_bytes, kStreamSlots);
  }
  INTAGLIO_ASSIGN(std::unique_ptr<CopyQueue> queue, make_copy_queue(context, slots));
  std::vector<AlignedBuffer> memory(slots);
  for (AlignedBuffer& slot : memory) {
    INTAGLIO_ASSIGN(slot, allocate(context, slot_bytes));
  }
  return std::make_shared<WeightStreamer>(std::move(queue), std::move(memory));
}

Status WeightStreamer::take(const Context& context, LinearWeights& weights,
                            StreamedLayer& layer) const {
  const size_t bytes = weights.packed.size();
  const size_t at = layer.slot_bytes();
  if (at + bytes > slot_bytes()) {
    return make_error(ErrorCode::kOutOfMemory,
                      "weight streaming: a layer of at least {} bytes, slots hold {}", at + bytes,
                      slot_bytes());
  }
  INTAGLIO_ASSIGN(AlignedBuffer host, allocate_pinned(context, bytes));
  INTAGLIO_TRY(copy_out(context, host.data(), weights.packed.data(), bytes));
  weights.packed = AlignedBuffer();
  weights.borrowed = slots_[layer.slot].as<std::byte>() + at;
  layer.parts.push_back({std::move(host), at});
  return {};
}

StreamPass::~StreamPass() {
  // A recording that is given up must not leave the queue's stream in it, and copies under way must
  // be over before anything else writes the slots.
  if (open_) static_cast<void>(streamer_->queue_->join(context_));
}

Status StreamPass::begin() {
  if (layers_.empty()) return {};
  INTAGLIO_TRY(streamer_->queue_->fork(context_));
  open_ = true;
  for (size_t i = 0; i < std::min(streamer_->slots(), layers_.size()); ++i) INTAGLIO_TRY(push());
  return {};
}

Status StreamPass::push() {
  CopyQueue& queue = *streamer_->queue_;
  const StreamedLayer& layer = layers_[pushed_];
  // The first layer of each slot follows the fork, behind all that ever read the slot.
  if (pushed_ >= streamer_->slots()) INTAGLIO_TRY(queue.wait_free(layer.slot));
  for (const StreamedLayer::Part& part : layer.parts) {
    INTAGLIO_TRY(queue.copy(streamer_->slots_[layer.slot].as<std::byte>() + part.at,
                            part.host.data(), part.host.size()));
  }
  ++pushed_;
  return queue.mark_full(layer.slot);
}

Status StreamPass::acquire() {
  return streamer_->queue_->wait_full(context_, layers_[released_].slot);
}

Status StreamPass::release() {
  const size_t slot = layers_[released_++].slot;
  if (pushed_ == layers_.size()) return {};  // nobody waits for the slot any more
  INTAGLIO_TRY(streamer_->queue_->mark_free(context_, slot));
  return push();
}

Status StreamPass::end() {
  if (!open_) return {};
  open_ = false;
  return streamer_->queue_->join(context_);
}

}  // namespace intaglio
