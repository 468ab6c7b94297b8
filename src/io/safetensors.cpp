#include "io/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "io/atomic_file.h"
#include "io/printable.h"
#include "io/safetensors_header.h"

namespace intaglio {
namespace {

// The format's own limit on the header.
constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr uint64_t kLengthBytes = 8;

static_assert(std::endian::native == std::endian::little,
              "tensor bytes are used in place and are little-endian");

struct Mapping {
  void* data = MAP_FAILED;
  size_t size = 0;
  ~Mapping() {
    if (data != MAP_FAILED) ::munmap(data, size);
  }
};

Expected<std::shared_ptr<Mapping>> map_file(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe must not wait for its writer.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
    return make_error(code, "{}: cannot open: {}", path.string(), std::strerror(errno));
  }
  struct Closer {
    int descriptor;
    ~Closer() { ::close(descriptor); }  // the mapping keeps the file
  } closer{descriptor};
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) {
    return make_error(ErrorCode::kIo, "{}: cannot open: {}", path.string(), std::strerror(errno));
  }
  if (!S_ISREG(status.st_mode))
    return make_error(ErrorCode::kIo, "{}: cannot open: not a regular file", path.string());
  auto mapping = std::make_shared<Mapping>();
  mapping->size = static_cast<size_t>(status.st_size);
  if (mapping->size == 0)
    return make_error(ErrorCode::kBadFormat, "{}: empty file, not safetensors", path.string());
  mapping->data = ::mmap(nullptr, mapping->size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  if (mapping->data == MAP_FAILED) {
    return make_error(ErrorCode::kIo, "{}: cannot map: {}", path.string(), std::strerror(errno));
  }
  return mapping;
}

}  // namespace

Expected<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::open(
    const std::filesystem::path& path) {
  INTAGLIO_ASSIGN(const std::shared_ptr<Mapping> mapping, map_file(path));
  INTAGLIO_ASSIGN(
      const std::shared_ptr<const SafetensorsFile> parsed,
      parse({static_cast<const std::byte*>(mapping->data), mapping->size}, path.string()));
  auto file = std::make_shared<SafetensorsFile>(*parsed);
  file->path_ = path;
  file->mapping_ = mapping;
  return file;
}

Expected<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::parse(
    std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.size() < kLengthBytes) {
    return make_error(ErrorCode::kBadFormat, "{}: {} bytes, too short for safetensors", name,
                      bytes.size());
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: header of {} bytes, at most {} expected; not safetensors?", name,
                      header_bytes, kMaxHeaderBytes);
  }
  if (header_bytes > bytes.size() - kLengthBytes) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: header of {} bytes does not fit the file of {} bytes; truncated?", name,
                      header_bytes, bytes.size());
  }
  const std::string_view json(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes,
                              header_bytes);
  if (json.empty() || json.front() != '{') {
    return make_error(ErrorCode::kBadFormat,
                      "{}: header does not start with '{{'; not safetensors?", name);
  }
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + header_bytes);
  INTAGLIO_ASSIGN(SafetensorsHeader header, parse_safetensors_header(json, data.size(), name));

  auto file = std::make_shared<SafetensorsFile>();
  file->path_ = name;
  file->metadata_ = std::move(header.metadata);
  file->tensors_.reserve(header.records.size());
  for (SafetensorsRecord& record : header.records) {
    file->tensors_.push_back(
        {std::move(record.name), {data.data() + record.begin, record.dtype, record.shape}});
  }
  return file;
}

const TensorEntry* SafetensorsFile::find(std::string_view name) const {
  const auto found = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const TensorEntry& entry, std::string_view key) { return entry.name < key; });
  return found != tensors_.end() && found->name == name ? &*found : nullptr;
}

Status write_safetensors(const std::filesystem::path& path, std::span<const TensorEntry> tensors,
                         const std::map<std::string, std::string>& metadata) {
  std::string header;
  try {
    nlohmann::ordered_json json = nlohmann::ordered_json::object();
    if (!metadata.empty()) json["__metadata__"] = metadata;
    std::set<std::string_view> names;
    uint64_t offset = 0;
    for (const TensorEntry& tensor : tensors) {
      if (tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
        return make_error(ErrorCode::kInvalidArgument,
                          "{}: tensor name \"{}\" is reserved or given twice", path.string(),
                          printable(tensor.name));
      }
      const Shape& shape = tensor.view.shape;
      const uint64_t end = offset + tensor.view.size_bytes();
      // Built as a vector: an object here would cost a search per key.
      json.get_ref<nlohmann::ordered_json::object_t&>().emplace_back(
          tensor.name,
          nlohmann::ordered_json{
              {"dtype", dtype_name(tensor.view.dtype)},
              {"shape", std::vector<int64_t>(shape.dims.begin(), shape.dims.begin() + shape.rank)},
              {"data_offsets", std::vector<uint64_t>{offset, end}}});
      offset = end;
    }
    header = json.dump();
  } catch (const std::exception&) {
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: a tensor's name or a text of the metadata is not UTF-8", path.string());
  }
  header.resize((header.size() + 7) / 8 * 8, ' ');
  if (header.size() > kMaxHeaderBytes) {
    return make_error(ErrorCode::kInvalidArgument, "{}: header of {} bytes, at most {} allowed",
                      path.string(), header.size(), kMaxHeaderBytes);
  }

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

}  // namespace intaglio
