#include "models/hash_cache.h"

#include <charconv>
#include <filesystem>
#include <optional>
#include <string>

#include "core/files.h"
#include "io/content_hash.h"
#include "io/packed_folder.h"
#include "models/parts/packed_cache.h"

namespace intaglio {
namespace {

constexpr size_t kDigits = 16;

std::optional<uint64_t> read_hash(const std::filesystem::path& path) {
  const auto text = read_file(path, kDigits);
  uint64_t hash = 0;
  if (!text || text->size() != kDigits) return std::nullopt;
  const char* const end = text->data() + text->size();
  const auto [rest, error] = std::from_chars(text->data(), end, hash, 16);
  if (error != std::errc() || rest != end) return std::nullopt;
  return hash;
}

}  // namespace

Expected<uint64_t> kept_hash(const Checkpoint& checkpoint, const std::atomic<bool>* cancel) {
  const PackedCacheSettings settings = packed_cache();
  uint64_t bytes = 0;
  for (const TensorEntry* const tensor : checkpoint.tensors()) bytes += tensor->view.size_bytes();
  if (settings.limit == 0 || bytes < settings.least) return checkpoint.hash(cancel);
  const Expected<std::string> identity = tensors_identity(checkpoint.tensors());
  if (!identity) return checkpoint.hash(cancel);
  const std::filesystem::path path =
      hash_path(settings.folder, hash128_text(*identity + checkpoint.quantization()));
  if (const std::optional<uint64_t> known = read_hash(path)) return *known;
  INTAGLIO_ASSIGN(const uint64_t hash, checkpoint.hash(cancel));
  // Without room for it the next start reads the file again.
  if (check_disk(settings.folder, kDigits))
    static_cast<void>(write_file_atomic(path, fmt::format("{:016x}", hash)));
  return hash;
}

}  // namespace intaglio
