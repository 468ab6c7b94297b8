#include "models/parts/packed_writer.h"

#include <chrono>
#include <system_error>
#include <utility>

#include "core/log.h"
#include "core/out_of_memory.h"
#include "io/packed_folder.h"

namespace intaglio {

PackedWriter::PackedWriter(std::filesystem::path folder, uint64_t limit, PackedIndex head,
                           const std::atomic<bool>* cancel)
    : folder_(std::move(folder)), limit_(limit), head_(std::move(head)), cancel_(cancel) {}

Expected<std::unique_ptr<PackedWriter>> PackedWriter::start(std::filesystem::path folder,
                                                            uint64_t limit, PackedIndex head,
                                                            const std::atomic<bool>* cancel) {
  std::unique_ptr<PackedWriter> writer(
      new PackedWriter(std::move(folder), limit, std::move(head), cancel));
  try {
    writer->thread_ = std::thread([w = writer.get()] { w->work(); });
  } catch (const std::system_error& error) {
    return make_error(ErrorCode::kUnsupported, "no thread that writes packed weights: {}",
                      error.what());
  }
  return writer;
}

PackedWriter::~PackedWriter() {
  if (!thread_.joinable()) return;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!finished_) given_up_ = true;
    changed_.notify_all();
    // The flag that asks to stop wakes nobody.
    while (!ended_) {
      changed_.wait_for(lock, std::chrono::milliseconds(50));
      if (cancel_ != nullptr && *cancel_) given_up_ = true;
      changed_.notify_all();
    }
  }
  thread_.join();
}

void PackedWriter::add(Item item) {
  const size_t bytes = item.in_use ? 0 : item.parts[kPackedRows].size();
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] {
    return ended_ || waiting_bytes_ == 0 || waiting_bytes_ + bytes <= kMostWaiting;
  });
  if (ended_) {
    if (item.in_use) kept_.push_back(std::move(item.parts[kPackedRows]));
    return;
  }
  waiting_bytes_ += bytes;
  waiting_.push_back(std::move(item));
  changed_.notify_all();
}

void PackedWriter::finish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  finished_ = true;
  changed_.notify_all();
}

bool PackedWriter::is_finished() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return finished_;
}

void PackedWriter::work() {
  const Status status = guard_memory("writing packed weights", [&] { return write_all(); });
  if (!status && status.error().code != ErrorCode::kCancelled)
    log(LogLevel::kWarning, "packed weights are not kept: {}", status.error().message);
  const std::lock_guard<std::mutex> lock(mutex_);
  for (Item& item : waiting_)
    if (item.in_use) kept_.push_back(std::move(item.parts[kPackedRows]));
  waiting_.clear();
  ended_ = true;
  changed_.notify_all();
}

Status PackedWriter::write_all() {
  const std::filesystem::path path = packed_path(folder_, head_.key);
  INTAGLIO_ASSIGN(PackedFileWriter file, PackedFileWriter::create(path, head_, &given_up_));
  for (;;) {
    Item item;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [&] { return given_up_ || finished_ || !waiting_.empty(); });
      if (given_up_) return make_error(ErrorCode::kCancelled, "given up");
      if (waiting_.empty()) break;
      item = std::move(waiting_.front());
      waiting_.pop_front();
    }
    const Status status = write(file, item);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (item.in_use) {
      kept_.push_back(std::move(item.parts[kPackedRows]));
    } else {
      waiting_bytes_ -= item.parts[kPackedRows].size();
    }
    changed_.notify_all();
    INTAGLIO_TRY(status);
  }
  return commit_packed(folder_, limit_, file);
}

Status PackedWriter::write(PackedFileWriter& file, Item& item) {
  std::array<std::span<const std::byte>, kPackedParts> parts;
  for (size_t i = 0; i < parts.size(); ++i)
    parts[i] = {item.parts[i].as<std::byte>(), item.parts[i].size()};
  return file.add(item.name, item.attributes, parts);
}

}  // namespace intaglio
