#include "io/checkpoint.h"

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cctype>
#include <memory>

#include "core/escape.h"
#include "io/gguf.h"
#include "io/json_config.h"
#include "io/printable.h"
#include "io/safetensors.h"

namespace intaglio {
namespace {

// Problems quoted in one message; a wrong folder would otherwise list every tensor of the model.
constexpr size_t kMaxListed = 20;

std::string join_lines(const std::vector<std::string>& lines) {
  const size_t shown = std::min(lines.size(), kMaxListed);
  std::string text = fmt::format(
      "{}", fmt::join(lines.begin(), lines.begin() + static_cast<ptrdiff_t>(shown), "\n  "));
  if (shown < lines.size()) text += fmt::format("\n  and {} more", lines.size() - shown);
  return text;
}

// A relative path that names something below its folder, whatever the system's separators.
bool stays_inside(const std::string& name) {
  if (name.empty() || name.find('\0') != std::string::npos || name.find('\\') != std::string::npos)
    return false;
  const std::filesystem::path path(name);
  if (path.is_absolute() || path.has_root_path() || path.filename().empty()) return false;
  return std::none_of(path.begin(), path.end(), [](const auto& part) { return part == ".."; });
}

struct Shards {
  std::vector<std::shared_ptr<const TensorFile>> files;
  std::map<std::string, const TensorEntry*, std::less<>> tensors;
};

Expected<Shards> open_shards(const std::filesystem::path& index_path) {
  INTAGLIO_ASSIGN(const JsonConfig index, JsonConfig::open(index_path));
  INTAGLIO_ASSIGN(const JsonConfig weight_map, index.object("weight_map"));
  Shards shards;
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> opened;
  std::vector<std::string> missing;
  for (const auto& [tensor, shard] : weight_map.json().items()) {
    if (!shard.is_string() || !stays_inside(shard.get_ref<const std::string&>())) {
      return make_error(
          ErrorCode::kBadFormat,
          "{}: weight_map.{}: expected a file name inside the folder, found {}",
          index_path.string(), printable(tensor),
          printable(shard.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), 100));
    }
    const std::string& name = shard.get_ref<const std::string&>();
    auto found = opened.find(name);
    if (found == opened.end()) {
      INTAGLIO_ASSIGN(auto file, SafetensorsFile::open(index_path.parent_path() / name));
      found = opened.emplace(name, std::move(file)).first;
    }
    const TensorEntry* entry = found->second->find(tensor);
    if (entry == nullptr) {
      missing.push_back(fmt::format("\"{}\" is not in {}", printable(tensor), printable(name)));
    } else {
      shards.tensors.emplace(tensor, entry);
    }
  }
  if (!missing.empty()) {
    return make_error(ErrorCode::kBadFormat, "{}: tensors missing from their shards:\n  {}",
                      index_path.string(), OwnLines{join_lines(missing)});
  }
  for (auto& [name, file] : opened) shards.files.push_back(std::move(file));
  return shards;
}

constexpr const char* kStems[] = {"diffusion_pytorch_model", "model"};

// Whether `name` is "<stem>.<variant>.safetensors", "<stem>.<variant>.safetensors.index.json" or
// "<stem>.safetensors.index.<variant>.json".
bool has_variant(std::string_view name) {
  const auto is_variant = [](std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
      return c == '_' || std::isalnum(static_cast<unsigned char>(c)) != 0;
    });
  };
  const auto cut = [](std::string_view text, std::string_view begin, std::string_view end) {
    const bool fits =
        text.size() > begin.size() + end.size() && text.starts_with(begin) && text.ends_with(end);
    return fits ? text.substr(begin.size(), text.size() - begin.size() - end.size())
                : std::string_view();
  };
  return std::any_of(std::begin(kStems), std::end(kStems), [&](const std::string& stem) {
    return is_variant(cut(name, stem + ".", ".safetensors")) ||
           is_variant(cut(name, stem + ".", ".safetensors.index.json")) ||
           is_variant(cut(name, stem + ".safetensors.index.", ".json"));
  });
}

// The file or the index of the weights in `folder`.
Expected<std::filesystem::path> weights_in(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored))
    return make_error(ErrorCode::kNotFound, "{}: no such folder; expected weights in it",
                      folder.string());
  std::vector<std::string> tried;
  for (const char* stem : kStems) {
    for (const char* end : {"safetensors", "safetensors.index.json"}) {
      tried.push_back(fmt::format("{}.{}", stem, end));
      if (std::filesystem::exists(folder / tried.back(), ignored)) return folder / tried.back();
    }
  }
  std::vector<std::filesystem::path> variants;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored))
    if (has_variant(entry.path().filename().string()) || entry.path().extension() == ".gguf")
      variants.push_back(entry.path());
  if (variants.size() == 1) return variants.front();
  return make_error(ErrorCode::kNotFound, "{}: {}; looked for {} or one .gguf file; there is {}",
                    folder.string(),
                    variants.empty() ? "no weights" : "more than one variant of the weights",
                    fmt::join(tried, ", "), folder_contents(folder));
}

struct HashState {
  HashState() : state(XXH3_createState()) {
    if (state != nullptr) XXH3_64bits_reset(state);
  }
  ~HashState() { XXH3_freeState(state); }
  HashState(const HashState&) = delete;
  HashState& operator=(const HashState&) = delete;
  XXH3_state_t* state;
};

// Beside a file from elsewhere may lie anything, so what cannot be read says nothing: a format that
// needs it finds it missing.
std::string quantization_beside(const std::filesystem::path& weights) {
  constexpr std::string_view kKey = "quantization_config";
  const std::filesystem::path folder = weights.parent_path();
  const auto dumped = [](const nlohmann::json& json) {
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  if (const auto own = JsonConfig::open(folder / "quantization_config.json"))
    return dumped(own->json());
  const auto config = JsonConfig::open(folder / "config.json");
  if (!config || !config->contains(kKey) || !config->json().at(kKey).is_object()) return {};
  return dumped(config->json().at(kKey));
}

}  // namespace

Expected<std::shared_ptr<const TensorFile>> open_tensor_file(const std::filesystem::path& path) {
  if (path.extension() == ".gguf") return GgufFile::open(path);
  return SafetensorsFile::open(path);
}

Expected<std::shared_ptr<const Checkpoint>> Checkpoint::open(const std::filesystem::path& path) {
  auto checkpoint = std::make_shared<Checkpoint>();
  std::error_code ignored;
  checkpoint->path_ = path;
  const auto is_named = [&](const char* end) { return path.extension() == end; };
  if (std::filesystem::is_directory(path, ignored) ||
      !(is_named(".safetensors") || is_named(".gguf") || is_named(".json"))) {
    if (std::filesystem::is_regular_file(path, ignored)) {
      return make_error(ErrorCode::kBadFormat,
                        "{}: unknown kind of file; expected weights as .safetensors or .gguf",
                        path.string());
    }
    INTAGLIO_ASSIGN(checkpoint->path_, weights_in(path));
  }
  checkpoint->quantization_ = quantization_beside(checkpoint->path_);
  if (checkpoint->path_.extension() == ".json") {
    INTAGLIO_ASSIGN(Shards shards, open_shards(checkpoint->path_));
    checkpoint->files_ = std::move(shards.files);
    checkpoint->tensors_ = std::move(shards.tensors);
    return checkpoint;
  }
  INTAGLIO_ASSIGN(auto file, open_tensor_file(checkpoint->path_));
  for (const TensorEntry& entry : file->tensors()) checkpoint->tensors_.emplace(entry.name, &entry);
  checkpoint->files_.push_back(std::move(file));
  return checkpoint;
}

std::string folder_contents(const std::filesystem::path& folder) {
  constexpr size_t kMaxNames = 10;
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    std::error_code ignored;
    const bool dangles = entry.is_symlink(ignored) && !entry.exists(ignored);
    names.push_back(printable(entry.path().filename().string(), 100) +
                    (dangles ? " (a link to nothing)" : ""));
  }
  if (names.empty()) return "nothing";
  std::sort(names.begin(), names.end());
  const size_t shown = std::min(names.size(), kMaxNames);
  std::string text = fmt::format(
      "{}", fmt::join(names.begin(), names.begin() + static_cast<ptrdiff_t>(shown), ", "));
  if (shown < names.size()) text += fmt::format(" and {} more", names.size() - shown);
  return text;
}

std::string Checkpoint::file_of(const TensorEntry& tensor) const {
  for (const auto& file : files_)
    if (file->find(tensor.name) == &tensor) return file->path().filename().string();
  return path_.filename().string();
}

const TensorEntry* Checkpoint::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

std::vector<const TensorEntry*> Checkpoint::tensors() const {
  std::vector<const TensorEntry*> result;
  result.reserve(tensors_.size());
  for (const auto& [name, entry] : tensors_) result.push_back(entry);
  return result;
}

Expected<uint64_t> Checkpoint::hash(const std::atomic<bool>* cancel) const {
  // Small enough to stay in a cache between the copy and the hash, and for a look at `cancel` in
  // between.
  constexpr uint64_t kPieceBytes = uint64_t{256} << 10;
  HashState hash;
  if (hash.state == nullptr)
    return make_error(ErrorCode::kOutOfMemory, "out of memory for the weights' hash");
  uint64_t largest = 0;
  for (const auto& [name, entry] : tensors_)
    largest = std::max<uint64_t>(largest, entry->view.size_bytes());
  INTAGLIO_ASSIGN(const AlignedBuffer piece,
                  AlignedBuffer::allocate(std::min(largest, kPieceBytes)));
  const auto add = [&](const void* data, size_t size) {
    XXH3_64bits_update(hash.state, data, size);
  };
  const auto add_text = [&](std::string_view text) {
    const uint64_t size = text.size();  // the length first: "ab" + "c" must differ from "a" + "bc"
    add(&size, sizeof(size));
    add(text.data(), text.size());
  };
  if (!quantization_.empty()) add_text(quantization_);
  for (const auto& [name, entry] : tensors_) {
    add_text(name);
    if (!entry->foreign.empty()) add_text(entry->foreign);
    add_text(dtype_name(entry->view.dtype));
    const int64_t rank = entry->view.shape.rank;
    add(&rank, sizeof(rank));
    add(entry->view.shape.dims.data(), static_cast<size_t>(rank) * sizeof(int64_t));
    const uint64_t size = entry->view.size_bytes();
    for (uint64_t done = 0; done < size;) {
      if (cancel != nullptr && cancel->load(std::memory_order_relaxed))
        return make_error(ErrorCode::kCancelled, "stopped on request");
      const std::span<std::byte> bytes(piece.as<std::byte>(),
                                       std::min<uint64_t>(piece.size(), size - done));
      INTAGLIO_TRY(read_tensor_bytes(*entry, done, bytes));
      add(bytes.data(), bytes.size());
      done += bytes.size();
    }
  }
  return XXH3_64bits_digest(hash.state);
}

}  // namespace intaglio
