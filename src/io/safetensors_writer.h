// A safetensors file written tensor by tensor, and gone on with where an earlier run was ended.
#pragma once

#include <atomic>
#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "io/safetensors.h"

namespace intaglio {

// The JSON header of a file of these tensors, in this order and without a hole, padded to a
// multiple of 8 bytes. Types and shapes alone are read of them. kInvalidArgument, naming `path`,
// for names that are given twice, reserved or no UTF-8.
Expected<std::string> safetensors_header(const std::filesystem::path& path,
                                         std::span<const TensorEntry> tensors,
                                         const std::map<std::string, std::string>& metadata);

// Bytes go to "<target>.<16 hexadecimal digits>.part" beside the target, which the last step
// renames. The digits are a hash of the header and of the job, so that only a run that would write
// the same bytes finds what is there, and keeps it up to the last tensor that is whole.
class SafetensorsWriter {
 public:
  // `tensors`: names, types and shapes, in the order they are written in. `job`: whatever else
  // decides over their bytes. Removes what runs of other jobs have left of this target. `cancel`
  // may be null. kIo with the system's reason, or if another process is writing the same file.
  static Expected<SafetensorsWriter> begin(const std::filesystem::path& target,
                                           std::span<const TensorEntry> tensors,
                                           const std::map<std::string, std::string>& metadata,
                                           std::string_view job,
                                           const std::atomic<bool>* cancel = nullptr);
  SafetensorsWriter(SafetensorsWriter&& other) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) = delete;
  ~SafetensorsWriter();

  // The first tensor that is missing.
  size_t next() const { return next_; }
  const std::filesystem::path& part_file() const { return part_; }
  // All bytes of the tensor `next()`. kCancelled leaves a file that can be gone on with.
  Status write(std::span<const std::byte> bytes);
  // Flushes to the disk and gives the file its name; all tensors are written.
  Status commit();

 private:
  SafetensorsWriter() = default;
  Status open(std::string_view header);
  Status write_at_end(std::span<const std::byte> bytes);
  tl::unexpected<Error> failure(int error) const;

  std::filesystem::path target_, part_;
  const std::atomic<bool>* cancel_ = nullptr;
  int descriptor_ = -1;
  std::vector<uint64_t> ends_;  // of each tensor, from the file's begin
  size_t next_ = 0;
};

}  // namespace intaglio
