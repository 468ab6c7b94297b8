#include "io/content_hash.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/parallel_tasks.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace intaglio {
namespace {

constexpr uint64_t kPieceBytes = uint64_t{1} << 20;
constexpr uint64_t kEndBytes = uint64_t{64} << 10, kBlockBytes = uint64_t{4} << 10;
constexpr uint64_t kBlocks = 64;

}  // namespace

uint64_t hash64(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string hash128_text(std::string_view text) {
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

Expected<uint64_t> hash_pieces(const Context& context, std::span<const std::byte> bytes) {
  std::vector<uint64_t> hashes((bytes.size() + kPieceBytes - 1) / kPieceBytes);
  INTAGLIO_TRY(parallel_tasks(
      context, static_cast<int64_t>(hashes.size()), 1, [&](int64_t begin, int64_t end, int) {
        for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
          const uint64_t at = i * kPieceBytes;
          hashes[i] = hash64(bytes.subspan(at, std::min(kPieceBytes, bytes.size() - at)));
        }
      }));
  return hash64(std::as_bytes(std::span<const uint64_t>(hashes)));
}

Expected<std::string> file_identity(const InputFile& file) {
  struct stat status {};
  if (::stat(file.path().c_str(), &status) != 0)
    return make_error(ErrorCode::kIo, "{}: cannot read: {}", file.path().string(),
                      std::strerror(errno));
  std::vector<uint64_t> hashes;
  std::vector<std::byte> bytes;
  const auto add = [&](uint64_t at, uint64_t count) -> Status {
    bytes.resize(count);
    INTAGLIO_TRY(file.read(at, bytes));
    hashes.push_back(hash64(bytes));
    return {};
  };
  const uint64_t size = file.size(), ends = std::min(size, kEndBytes);
  INTAGLIO_TRY(add(0, ends));
  INTAGLIO_TRY(add(size - ends, ends));
  for (uint64_t i = 0; i < kBlocks && size > kBlockBytes; ++i)
    INTAGLIO_TRY(add((size - kBlockBytes) / kBlocks * i, kBlockBytes));
  return fmt::format("{}-{}.{:09}-{:016x}", size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
                     hash64(std::as_bytes(std::span<const uint64_t>(hashes))));
}

}  // namespace intaglio
