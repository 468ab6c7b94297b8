// A GPU that is made up: its memory is the host's, its streams are queues of closures. It counts
// what is allocated as a card's driver does, runs what is queued as late or in as odd an order as
// the events between the streams allow, and can be told to fail a call.
//
//   stream 0 is the first one made, the engine's own; the others are side streams, which copy
//   weights or run a pass beside another, here or on the second card.
//   kSideFirst   whatever a side stream may do already, it does before stream 0 goes on: a copy that does not wait for its slot's reader overwrites it
//   kSideLast    a side stream does nothing before stream 0 waits for it: a reader that does not wait for its copy reads what was there before
// New memory holds NaNs, and so does freed memory. Both orders give the same picture, bit for bit,
// if nothing is missing between the streams.
//
// There are two of them, alike. A kernel, a copy or an allocation for one of them while the other
// is current fails, as does an event of one on a stream of the other, and a copy that is not
// cudaMemcpyPeerAsync between their memories. Any number of threads may call.
#pragma once

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace intaglio::test {

enum class SideOrder { kSideFirst, kSideLast };

class DeviceDouble {
 public:
  static DeviceDouble& instance();

  // As new but for its capacity: no log, no fault to come, peaks as what is allocated now.
  void restart(SideOrder order = SideOrder::kSideLast);

  // false: kernels are counted and do nothing, and memory holds zeros. For tests of sizes alone.
  void set_computing(bool computes) { computes_ = computes; }

  // Bytes of allocations as a driver rounds them: granules of 2 MiB, small ones 512 bytes.
  struct Count {
    uint64_t now = 0, peak = 0;
    int64_t blocks = 0;
  };
  static constexpr int kDevices = 2;
  const Count& device(int ordinal = 0) const { return devices_[static_cast<size_t>(ordinal)]; }
  const Count& pinned() const { return pinned_; }
  // The peaks begin again at what is allocated now.
  void restart_peaks();
  static constexpr uint64_t kCapacity = uint64_t{8} << 30;  // bytes, unless another is set
  void set_capacity(uint64_t bytes) { capacity_ = bytes; }  // of each
  uint64_t capacity() const { return capacity_; }

  // true: from the next allocation on, work for one card that touches the memory of the other ends
  // the process, as an address that is nobody's does.
  void set_guarded(bool guarded) { guarded_ = guarded; }

  // Whether the cards reach each other's memory, as they do after a restart; how often they did.
  void set_peers(bool peers) { peers_ = peers; }
  bool has_peers() const { return peers_; }
  int64_t peer_copies() const { return peer_copies_; }

  // What was given to the cards, in order: "0 norm_rows", "1 copy", "0 wait 1" (stream 0 waits for
  // what stream 1 had been given), "0 launch graph". What is recorded counts when it is recorded.
  const std::vector<std::string>& log() const { return log_; }
  void clear_log() { log_.clear(); }

  // Calls that can fail, since the start; the `at`-th from now on fails, once. -1: none. Names of
  // calls that the engine can do without begin with "mark: ".
  int64_t calls() const { return calls_; }
  void fail_call(int64_t at) { fail_at_ = at < 0 ? -1 : calls_ + at; }
  bool has_failed() const { return failed_; }
  const std::string& failed_call() const { return failed_call_; }

  // Streams whose work stream 0 does not wait for.
  std::vector<int> unjoined_streams() const;
  // Streams, events, graphs that are not freed.
  int64_t objects() const { return objects_; }

  // A kernel: `work` runs when its turn comes.
  cudaError_t launch(cudaStream_t stream, const char* name, std::function<void()> work);

 private:
  friend struct Runtime;
  DeviceDouble();
  ~DeviceDouble();

  std::unique_ptr<struct Runtime> runtime_;
  std::array<Count, kDevices> devices_;
  Count pinned_;
  uint64_t capacity_ = kCapacity;
  std::vector<std::string> log_;
  int64_t calls_ = 0, fail_at_ = -1, objects_ = 0;
  bool failed_ = false, computes_ = true, peers_ = true, guarded_ = false;
  int64_t peer_copies_ = 0;
  std::string failed_call_;
};

}  // namespace intaglio::test
