// A value a device that is made when it is first asked for and kept as long as its holder: what a
// process learns or prepares for one GPU is not true of the next. No CUDA type, so that it is
// tested without a card.
#pragma once

#include <map>
#include <memory>
#include <mutex>

namespace intaglio {

// Threads may ask at the same time: each ordinal's value is made once, and those who ask for
// another device do not wait for it.
template <typename T>
class PerDevice {
 public:
  // make() -> std::unique_ptr<T>, not null. It may not ask for the same device of the same holder.
  template <typename Make>
  T& get(int ordinal, Make&& make) {
    Slot& slot = slot_of(ordinal);
    const std::scoped_lock lock(slot.mutex);
    if (slot.value == nullptr) slot.value = make();
    return *slot.value;
  }

 private:
  struct Slot {
    std::mutex mutex;
    std::unique_ptr<T> value;
  };

  Slot& slot_of(int ordinal) {
    const std::scoped_lock lock(mutex_);
    return slots_[ordinal];  // stays where it is
  }

  std::mutex mutex_;
  std::map<int, Slot> slots_;
};

}  // namespace intaglio
