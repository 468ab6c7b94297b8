#include "io/formats/layer.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "io/formats/fp8.h"
#include "io/printable.h"

namespace intaglio {
namespace {

// Descriptors have some 120 bytes.
constexpr size_t kMaxDescriptorBytes = size_t{1} << 16;

// "F32 or BF16 [4] or [4, 1]".
std::string expected_text(std::initializer_list<DType> types, std::initializer_list<Shape> shapes) {
  std::vector<std::string> names, sizes;
  for (const DType type : types) names.emplace_back(dtype_name(type));
  for (const Shape& shape : shapes) sizes.push_back(to_string(shape));
  const std::string last_name = names.back(), last_size = sizes.back();
  names.pop_back();
  sizes.pop_back();
  return fmt::format("{}{}{} {}{}{}", fmt::join(names, ", "), names.empty() ? "" : " or ",
                     last_name, fmt::join(sizes, ", "), sizes.empty() ? "" : " or ", last_size);
}

}  // namespace

std::string Layer::where(std::string_view part) const {
  const std::string full = part.empty() ? name_ : fmt::format("{}.{}", name_, part);
  return fmt::format("{}: {}", tensors_->path(), printable(full));
}

const TensorEntry* Layer::find(std::string_view part) const {
  return tensors_->find(fmt::format("{}.{}", name_, part));
}

Expected<const TensorEntry*> Layer::get(std::string_view part) const {
  const TensorEntry* const entry = find(part);
  if (entry == nullptr) return make_error(ErrorCode::kBadFormat, "{}: missing", where(part));
  return entry;
}

Expected<const TensorEntry*> Layer::get(std::string_view part, std::initializer_list<DType> types,
                                        std::initializer_list<Shape> shapes) const {
  const TensorEntry* const entry = find(part);
  const bool fits = entry != nullptr && entry->foreign.empty() &&
                    std::find(types.begin(), types.end(), entry->view.dtype) != types.end() &&
                    std::find(shapes.begin(), shapes.end(), entry->view.shape) != shapes.end();
  if (fits) return entry;
  return make_error(ErrorCode::kBadFormat, "{}: {}, expected {}", where(part),
                    entry == nullptr ? "missing" : "found " + type_and_shape(*entry),
                    expected_text(types, shapes));
}

Expected<const TensorEntry*> Layer::find(std::string_view part, std::initializer_list<DType> types,
                                         std::initializer_list<Shape> shapes) const {
  if (find(part) == nullptr) return nullptr;
  return get(part, types, shapes);
}

Status Layer::check_matrix(const TensorEntry& entry) const {
  const Shape& shape = entry.view.shape;
  if (entry.foreign.empty() && shape.rank == 2 && shape.count() > 0) return {};
  return make_error(ErrorCode::kUnsupported,
                    "{}: {}: found {}, expected {} [n, k] with n and k above 0", tensors_->path(),
                    printable(entry.name), type_and_shape(entry), dtype_name(entry.view.dtype));
}

Status Layer::refuse_other_parts(std::span<const std::string_view> known,
                                 std::string_view what) const {
  const std::string begin = name_ + ".";
  for (auto at = tensors_->tensors().lower_bound(begin);
       at != tensors_->tensors().end() && at->first.starts_with(begin); ++at) {
    const std::string_view part = std::string_view(at->first).substr(begin.size());
    // Beyond a dot that no known part has, another module's.
    const bool is_own = part.find('.') == std::string_view::npos || part.starts_with("weight.");
    if (!is_own || part == "weight" || part == "bias" ||
        std::find(known.begin(), known.end(), part) != known.end())
      continue;
    return make_error(ErrorCode::kUnsupported,
                      "{}: {}: not known beside {}, and may change what it means", tensors_->path(),
                      printable(at->first), what);
  }
  return {};
}

std::vector<Layer> layers_with(const TensorSet& tensors, std::string_view part,
                               bool (*is_one)(const TensorEntry&)) {
  std::vector<Layer> layers;
  const std::string end = fmt::format(".{}", part);
  for (const auto& [name, entry] : tensors.tensors()) {
    if (name.size() > end.size() && name.ends_with(end) && (is_one == nullptr || is_one(*entry)))
      layers.emplace_back(tensors, name.substr(0, name.size() - end.size()));
  }
  return layers;
}

Status read_some_bytes(const TensorEntry& entry, int64_t first, int64_t count,
                       std::vector<std::byte>& out) {
  out.resize(static_cast<size_t>(count));
  return read_tensor_bytes(entry, static_cast<uint64_t>(first), out);
}

Status read_some_floats(const TensorEntry& entry, int64_t first, int64_t count, float* out) {
  const DType dtype = entry.view.dtype;
  const auto size = static_cast<int64_t>(dtype_size(dtype));
  std::vector<std::byte> bytes;
  INTAGLIO_TRY(read_some_bytes(entry, first * size, count * size, bytes));
  if (is_fp8(dtype)) {
    convert_bytes(bytes, values_of_fp8(dtype), out);
  } else {
    convert_to_f32(bytes.data(), dtype, out, static_cast<size_t>(count));
  }
  return {};
}

Expected<std::string> read_descriptor_text(const TensorSet& tensors, const TensorEntry& entry) {
  if (!has_type(entry, DType::kU8) || entry.view.shape.rank != 1 ||
      entry.view.size_bytes() > kMaxDescriptorBytes) {
    return make_error(
        ErrorCode::kBadFormat, "{}: {}: found {}, expected JSON as U8 of at most {} elements",
        tensors.path(), printable(entry.name), type_and_shape(entry), kMaxDescriptorBytes);
  }
  std::string text(entry.view.size_bytes(), '\0');
  INTAGLIO_TRY(read_tensor_bytes(entry, 0, std::as_writable_bytes(std::span(text))));
  return text;
}

}  // namespace intaglio
