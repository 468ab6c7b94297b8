#include "core/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace intaglio {
namespace {

tl::unexpected<Error> cannot_read(const std::filesystem::path& path, std::string_view reason) {
  return make_error(ErrorCode::kIo, "{}: cannot read: {}", path.string(), reason);
}

}  // namespace

Expected<std::shared_ptr<const InputFile>> InputFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe must not wait for its writer.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
    return make_error(code, "{}: cannot read: {}", path.string(), std::strerror(errno));
  }
  // From here on its destructor closes the descriptor.
  std::shared_ptr<InputFile> file;
  try {
    file.reset(new InputFile(path, descriptor));
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) return cannot_read(path, std::strerror(errno));
  if (S_ISDIR(status.st_mode)) return cannot_read(path, "is a folder");
  if (!S_ISREG(status.st_mode)) return cannot_read(path, "not a regular file");
  file->size_ = static_cast<uint64_t>(status.st_size);
  file->written_ = status.st_mtim;
  return file;
}

InputFile::~InputFile() { ::close(descriptor_); }

Status InputFile::read(uint64_t offset, std::span<std::byte> target) const {
  constexpr size_t kMostAtOnce = size_t{1} << 30;  // the system takes little more
  const uint64_t wanted = target.size();
  bool ended = false;
  while (!target.empty() && !ended) {
    const ssize_t count = ::pread(descriptor_, target.data(), std::min(target.size(), kMostAtOnce),
                                  static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return cannot_read(path_, std::strerror(errno));
    ended = count == 0;
    offset += static_cast<uint64_t>(count);
    target = target.subspan(static_cast<size_t>(count));
  }
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) return cannot_read(path_, std::strerror(errno));
  if (static_cast<uint64_t>(status.st_size) != size_) {
    return make_error(ErrorCode::kIo,
                      "{}: changed while it was read: {} bytes when it was opened, {} now",
                      path_.string(), size_, status.st_size);
  }
  if (status.st_mtim.tv_sec != written_.tv_sec || status.st_mtim.tv_nsec != written_.tv_nsec)
    return make_error(ErrorCode::kIo, "{}: changed while it was read", path_.string());
  if (ended) {
    return make_error(ErrorCode::kIo, "{}: ends {} bytes before the {} that were to be read",
                      path_.string(), target.size(), wanted);
  }
  return {};
}

}  // namespace intaglio
