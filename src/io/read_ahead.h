// Asks the system for the bytes of files before they are read, so that the disk works while numbers
// are converted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/input_file.h"

namespace intaglio {

class ReadAhead {
 public:
  struct Range {
    const InputFile* file = nullptr;  // outlives the object
    uint64_t at = 0, bytes = 0;
  };

  ReadAhead();
  ~ReadAhead();
  ReadAhead(ReadAhead&& other) noexcept;
  ReadAhead& operator=(ReadAhead&&) = delete;

  // What is read next after what was added before.
  void add(std::vector<Range> ranges) { groups_.push_back(std::move(ranges)); }
  // Group `index` is read now: at most kMostAhead bytes of those behind it are asked for.
  void reached(size_t index);

 private:
  static constexpr uint64_t kMostAhead = uint64_t{512} << 20;
  struct Asking;

  std::vector<std::vector<Range>> groups_;
  std::unique_ptr<Asking> asking_;
  size_t asked_ = 0;    // groups
  uint64_t ahead_ = 0;  // bytes asked for, of groups not yet reached
  size_t reached_ = 0;  // groups
};

}  // namespace intaglio
