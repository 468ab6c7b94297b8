#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "core/atomic_file.h"
#include "core/out_of_memory.h"
#include "io/printable.h"
#include "io/safetensors_header.h"
#include "io/safetensors_writer.h"

namespace intaglio {
namespace {

constexpr uint64_t kLengthBytes = 8;

static_assert(std::endian::native == std::endian::little,
              "tensor bytes are used in place and are little-endian");

// The length of the header, checked against the file's size.
Expected<uint64_t> header_length(std::span<const std::byte> bytes, uint64_t file_bytes,
                                 const std::string& name) {
  if (file_bytes < kLengthBytes) {
    return make_error(ErrorCode::kBadFormat, "{}: {}, too short for safetensors", name,
                      file_bytes == 0 ? "empty file" : fmt::format("{} bytes", file_bytes));
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: header of {} bytes, at most {} expected; not safetensors?", name,
                      header_bytes, kMaxHeaderBytes);
  }
  if (header_bytes > file_bytes - kLengthBytes) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: header of {} bytes does not fit the file of {} bytes; truncated?", name,
                      header_bytes, file_bytes);
  }
  return header_bytes;
}

Expected<SafetensorsHeader> read_header(std::string_view json, uint64_t data_bytes,
                                        const std::string& name) {
  const size_t start = json.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos || json[start] != '{') {
    return make_error(ErrorCode::kBadFormat,
                      "{}: header does not start with '{{'; not safetensors?", name);
  }
  return parse_safetensors_header(json, data_bytes, name);
}

}  // namespace

Expected<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::open(
    const std::filesystem::path& path) {
  return guard_file_memory(path, "reading", [&] { return open_file(path); });
}

Expected<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::open_file(
    const std::filesystem::path& path) {
  INTAGLIO_ASSIGN(const std::shared_ptr<const InputFile> input, InputFile::open(path));
  std::array<std::byte, kLengthBytes> length{};
  if (input->size() >= kLengthBytes) INTAGLIO_TRY(input->read(0, length));
  INTAGLIO_ASSIGN(const uint64_t header_bytes, header_length(length, input->size(), path.string()));
  std::string json(header_bytes, '\0');
  INTAGLIO_TRY(input->read(kLengthBytes, std::as_writable_bytes(std::span(json))));
  const uint64_t begin = kLengthBytes + header_bytes;
  INTAGLIO_ASSIGN(SafetensorsHeader header,
                  read_header(json, input->size() - begin, path.string()));
  auto file = std::make_shared<SafetensorsFile>();
  file->path_ = path;
  file->input_ = input;
  file->take(std::move(header), nullptr);
  for (TensorEntry& entry : file->tensors_) {
    entry.file = input.get();
    entry.at += begin;
  }
  return file;
}

Expected<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::parse(
    std::span<const std::byte> bytes, const std::string& name) {
  INTAGLIO_ASSIGN(const uint64_t header_bytes, header_length(bytes, bytes.size(), name));
  const std::string_view json(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes,
                              header_bytes);
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + header_bytes);
  INTAGLIO_ASSIGN(SafetensorsHeader header, read_header(json, data.size(), name));
  auto file = std::make_shared<SafetensorsFile>();
  file->path_ = name;
  file->take(std::move(header), data.data());
  return file;
}

void SafetensorsFile::take(SafetensorsHeader header, const std::byte* data) {
  metadata_ = std::move(header.metadata);
  tensors_.reserve(header.records.size());
  for (SafetensorsRecord& record : header.records) {
    const std::byte* const bytes = data == nullptr ? nullptr : data + record.begin;
    tensors_.push_back({.name = std::move(record.name),
                        .view = {bytes, record.dtype, record.shape},
                        .at = record.begin,
                        .foreign = std::move(record.foreign)});
  }
}

namespace {

Status write_all(const std::filesystem::path& path, std::span<const TensorEntry> tensors,
                 const std::map<std::string, std::string>& metadata) {
  INTAGLIO_ASSIGN(const std::string header, safetensors_header(path, tensors, metadata));
  INTAGLIO_ASSIGN(AtomicFile file, AtomicFile::create(path));
  const uint64_t header_bytes = header.size();
  INTAGLIO_TRY(file.write(std::as_bytes(std::span(&header_bytes, 1))));
  INTAGLIO_TRY(file.write(std::as_bytes(std::span(header.data(), header.size()))));
  for (const TensorEntry& tensor : tensors) {
    INTAGLIO_TRY(
        file.write({static_cast<const std::byte*>(tensor.view.data), tensor.view.size_bytes()}));
  }
  return file.commit();
}

}  // namespace

Status write_safetensors(const std::filesystem::path& path, std::span<const TensorEntry> tensors,
                         const std::map<std::string, std::string>& metadata) {
  return guard_file_memory(path, "writing", [&] { return write_all(path, tensors, metadata); });
}

}  // namespace intaglio
