// Writes prepared weights to a file of the cache by a thread of its own, while the rest are being
// prepared and the picture is drawn.
#pragma once

#include <array>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/status.h"
#include "io/packed_file.h"

namespace intaglio {

class PackedWriter {
 public:
  // Of a linear, in host memory.
  struct Item {
    std::string name, attributes;
    std::array<AlignedBuffer, kPackedParts> parts;
    // Weights lie in the rows, which are kept as long as the writer.
    bool in_use = false;
  };

  // `folder` is there. kUnsupported if the system gives no thread. `cancel` may be null.
  static Expected<std::unique_ptr<PackedWriter>> start(std::filesystem::path folder, uint64_t limit,
                                                       PackedIndex head,
                                                       const std::atomic<bool>* cancel);
  // Waits for a file that is finished to be written, unless it is cancelled; gives up any other.
  ~PackedWriter();
  PackedWriter(const PackedWriter&) = delete;
  PackedWriter& operator=(const PackedWriter&) = delete;

  // Waits while more than kMostWaiting bytes not in use are to be written: a device's weights come
  // faster than disks take them.
  void add(Item item);
  // All linears have been added: the file is to appear.
  void finish();
  bool is_finished();

 private:
  static constexpr size_t kMostWaiting = size_t{512} << 20;

  PackedWriter(std::filesystem::path folder, uint64_t limit, PackedIndex head,
               const std::atomic<bool>* cancel);
  void work();
  Status write_all();
  Status write(PackedFileWriter& file, Item& item);

  std::filesystem::path folder_;
  uint64_t limit_;
  PackedIndex head_;
  const std::atomic<bool>* cancel_;
  std::atomic<bool> given_up_{false};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> waiting_;
  std::vector<AlignedBuffer> kept_;  // rows that weights lie in
  size_t waiting_bytes_ = 0;         // of those not in use
  bool finished_ = false, ended_ = false;
  std::thread thread_;
};

}  // namespace intaglio
