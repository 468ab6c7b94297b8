#include "io/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <set>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/out_of_memory.h"
#include "core/utf8.h"
#include "io/formats/ggml_blocks.h"
#include "io/printable.h"

namespace intaglio {
namespace {

static_assert(std::endian::native == std::endian::little,
              "numbers are used as they lie, and are little-endian");

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kOldest = 2, kNewest = 3;
constexpr std::string_view kAlignmentKey = "general.alignment";
constexpr std::string_view kOrigShapeKey = "comfy.gguf.orig_shape.";
constexpr uint64_t kDefaultAlignment = 32;
// Of a tensor, as ggml has it.
constexpr uint32_t kMaxDimensions = 4;
// The format's own limit on keys; names of tensors are short.
constexpr uint64_t kMaxNameBytes = 65535;
// A text that `metadata` takes; tokenizers' templates may be longer, and nobody asks for them.
constexpr uint64_t kMaxTextBytes = 65536;

enum class Value : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kText,
  kArray,
  kU64,
  kI64,
  kF64
};
constexpr uint32_t kValues = 13;

// The least bytes of a value in a file.
uint64_t least_bytes(Value type) {
  constexpr std::array<uint64_t, kValues> kBytes{1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  return kBytes[static_cast<size_t>(type)];
}

constexpr uint64_t kLeastKey = 8 + 4 + 1;         // an empty name, a type, a byte
constexpr uint64_t kLeastTensor = 8 + 4 + 4 + 8;  // an empty name, no sizes, a type, an offset

// The bytes of a file one after the other, a window of them in memory.
class Cursor {
 public:
  Cursor(std::string name, const InputFile& input)
      : name_(std::move(name)), input_(&input), size_(input.size()) {}
  Cursor(std::string name, std::span<const std::byte> bytes)
      : name_(std::move(name)), bytes_(bytes), size_(bytes.size()) {}

  const std::string& name() const { return name_; }
  uint64_t size() const { return size_; }
  uint64_t at() const { return at_; }
  uint64_t left() const { return size_ - at_; }

  // kBadFormat if the file ends before; `what` it was to hold.
  Status skip(uint64_t count, std::string_view what) {
    INTAGLIO_TRY(need(count, what));
    at_ += count;
    return {};
  }
  template <typename T>
  Expected<T> number(std::string_view what) {
    T value{};
    INTAGLIO_TRY(read(std::as_writable_bytes(std::span(&value, 1)), what));
    return value;
  }
  // A text of at most `most` bytes.
  Expected<std::string> text(uint64_t most, std::string_view what) {
    INTAGLIO_ASSIGN(const uint64_t length, number<uint64_t>(what));
    INTAGLIO_TRY(need(length, what));
    if (length > most)
      return make_error(ErrorCode::kBadFormat, "{}: {} has {} bytes, at most {} expected", name_,
                        what, length, most);
    std::string text(length, '\0');
    INTAGLIO_TRY(read(std::as_writable_bytes(std::span(text)), what));
    return text;
  }
  Status read(std::span<std::byte> target, std::string_view what) {
    INTAGLIO_TRY(need(target.size(), what));
    while (!target.empty()) {
      INTAGLIO_ASSIGN(const std::span<const std::byte> ready, window());
      const size_t count = std::min(ready.size(), target.size());
      std::memcpy(target.data(), ready.data(), count);
      target = target.subspan(count);
      at_ += count;
    }
    return {};
  }

 private:
  Status need(uint64_t count, std::string_view what) const {
    if (count <= left()) return {};
    return make_error(ErrorCode::kBadFormat,
                      "{}: {} needs {} bytes from byte {} on, the file has {}; truncated?", name_,
                      what, count, at_, size_);
  }
  // Bytes from `at_` on, at least one; the file has some there.
  Expected<std::span<const std::byte>> window() {
    if (input_ == nullptr) return bytes_.subspan(at_);
    if (at_ < begin_ || at_ >= begin_ + window_.size()) {
      constexpr uint64_t kWindow = 1 << 16;
      window_.resize(std::min(kWindow, left()));
      begin_ = at_;
      INTAGLIO_TRY(input_->read(begin_, window_));
    }
    return std::span<const std::byte>(window_).subspan(at_ - begin_);
  }

  std::string name_;
  const InputFile* input_ = nullptr;
  std::span<const std::byte> bytes_;
  std::vector<std::byte> window_;
  uint64_t begin_ = 0;  // of the window
  uint64_t at_ = 0, size_ = 0;
};

// A single number, or true or false.
struct Scalar {
  std::string text;         // as `metadata` has it
  bool is_integer = false;  // not negative
  uint64_t integer = 0;
};

template <typename T>
Expected<Scalar> read_number(Cursor& cursor, std::string_view what) {
  INTAGLIO_ASSIGN(const T value, cursor.number<T>(what));
  Scalar scalar{.text = fmt::format("{}", value)};
  if constexpr (std::is_integral_v<T>) {
    scalar.is_integer = value >= T{0};
    scalar.integer = static_cast<std::make_unsigned_t<T>>(value);
  }
  return scalar;
}

Expected<Scalar> read_scalar(Cursor& cursor, Value type, std::string_view what) {
  switch (type) {
    case Value::kU8:
      return read_number<uint8_t>(cursor, what);
    case Value::kI8:
      return read_number<int8_t>(cursor, what);
    case Value::kU16:
      return read_number<uint16_t>(cursor, what);
    case Value::kI16:
      return read_number<int16_t>(cursor, what);
    case Value::kU32:
      return read_number<uint32_t>(cursor, what);
    case Value::kI32:
      return read_number<int32_t>(cursor, what);
    case Value::kU64:
      return read_number<uint64_t>(cursor, what);
    case Value::kI64:
      return read_number<int64_t>(cursor, what);
    case Value::kF32:
      return read_number<float>(cursor, what);
    case Value::kF64:
      return read_number<double>(cursor, what);
    case Value::kBool: {
      INTAGLIO_ASSIGN(const uint8_t value, cursor.number<uint8_t>(what));
      return Scalar{.text = value != 0 ? "true" : "false"};
    }
    default:
      return make_error(ErrorCode::kBadFormat, "{}: {} holds texts or arrays, expected numbers",
                        cursor.name(), what);
  }
}

Expected<Value> read_type(Cursor& cursor, std::string_view what) {
  INTAGLIO_ASSIGN(const uint32_t type, cursor.number<uint32_t>(what));
  if (type < kValues) return static_cast<Value>(type);
  return make_error(ErrorCode::kBadFormat, "{}: {} is of type {}, expected 0 to {}", cursor.name(),
                    what, type, kValues - 1);
}

// Numbers of elements, offsets and sizes in bytes stay below this.
constexpr auto kMaxSize = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());

// The product of sizes that are all above 0; nullopt if there is none below kMaxSize.
std::optional<uint64_t> product(std::span<const uint64_t> sizes) {
  uint64_t count = 1;
  for (const uint64_t size : sizes)
    if (__builtin_mul_overflow(count, size, &count) || count > kMaxSize) return std::nullopt;
  return count;
}

// The outermost size first. Sizes fit, and are at most kMaxRank.
Shape shape_of(std::span<const uint64_t> sizes) {
  Shape shape;
  for (const uint64_t size : sizes)
    shape.dims[static_cast<size_t>(shape.rank++)] = static_cast<int64_t>(size);
  return shape;
}

// What the header says of a tensor.
struct Record {
  std::string name;
  std::vector<uint64_t> sizes;  // the outermost first
  const GgmlType* type = nullptr;
  uint64_t begin = 0, bytes = 0;  // from the begin of the data
};

}  // namespace

// Reads the header of one file, front to back.
class GgufParser {
 public:
  explicit GgufParser(Cursor cursor) : cursor_(std::move(cursor)) {}

  Status parse() {
    INTAGLIO_TRY(read_begin());
    INTAGLIO_TRY(check_count("keys", keys_, kLeastKey));
    for (uint64_t i = 0; i < keys_; ++i) INTAGLIO_TRY(read_key(i));
    INTAGLIO_TRY(check_count("tensors", tensors_, kLeastTensor));
    for (uint64_t i = 0; i < tensors_; ++i) INTAGLIO_TRY(read_tensor_info(i));
    INTAGLIO_TRY(place_data());
    INTAGLIO_TRY(check_offsets());
    return restore_shapes();
  }

  // `data`: the file's bytes in memory, or null.
  void give(GgufFile& file, const std::byte* data) {
    file.metadata_ = std::move(metadata_);
    std::sort(records_.begin(), records_.end(),
              [](const Record& a, const Record& b) { return a.name < b.name; });
    file.tensors_.reserve(records_.size());
    for (Record& record : records_) {
      const uint64_t at = data_begin_ + record.begin;
      const void* const bytes = data == nullptr ? nullptr : data + at;
      const Shape shape = shape_of(record.sizes);
      TensorEntry entry{.name = std::move(record.name),
                        .view = {bytes, record.type->dtype.value_or(DType::kU8), shape},
                        .file = file.input_.get(),
                        .at = at};
      if (!record.type->dtype) {
        entry.foreign = fmt::format("{} {}", record.type->name, to_string(shape));
        entry.view.shape = Shape{static_cast<int64_t>(record.bytes)};
        entry.blocks = GgmlBlocks{record.type, shape};
      }
      file.tensors_.push_back(std::move(entry));
    }
  }

 private:
  template <typename... Args>
  tl::unexpected<Error> wrong(fmt::format_string<Args...> format, Args&&... args) const {
    return make_error(ErrorCode::kBadFormat, "{}: {}", cursor_.name(),
                      fmt::format(format, std::forward<Args>(args)...));
  }

  Status read_begin() {
    if (cursor_.size() < kMagic.size() + 4 + 8 + 8) {
      return wrong("{}, too short for GGUF",
                   cursor_.size() == 0 ? "empty file" : fmt::format("{} bytes", cursor_.size()));
    }
    std::array<char, 4> magic{};
    INTAGLIO_TRY(cursor_.read(std::as_writable_bytes(std::span(magic)), "the magic"));
    if (std::string_view(magic.data(), magic.size()) != kMagic)
      return wrong("begins with \"{}\", expected \"{}\"; not GGUF?",
                   printable({magic.data(), magic.size()}), kMagic);
    INTAGLIO_ASSIGN(const auto version, cursor_.number<uint32_t>("the version"));
    if (version >= kOldest << 24 && (version & 0xffffffu) == 0)
      return wrong("a big-endian file; supported are little-endian ones");
    if (version < kOldest || version > kNewest)
      return wrong("version {}, supported are {} and {}", version, kOldest, kNewest);
    INTAGLIO_ASSIGN(tensors_, cursor_.number<uint64_t>("the number of tensors"));
    INTAGLIO_ASSIGN(keys_, cursor_.number<uint64_t>("the number of keys"));
    return {};
  }

  // Before anything is made for so many.
  Status check_count(const char* what, uint64_t count, uint64_t least) const {
    if (count <= cursor_.left() / least) return {};
    return wrong("{} {} in a file of {} bytes, which has no room for them; truncated?", count, what,
                 cursor_.size());
  }

  Expected<std::string> read_name(const std::string& what) {
    INTAGLIO_ASSIGN(std::string name, cursor_.text(kMaxNameBytes, "the name of " + what));
    if (!is_utf8(name)) return wrong("the name of {} is not UTF-8: {}", what, printable(name, 60));
    return name;
  }

  Status read_key(uint64_t index) {
    INTAGLIO_ASSIGN(std::string name, read_name(fmt::format("key {} of {}", index + 1, keys_)));
    const std::string what = fmt::format("key \"{}\"", printable(name));
    if (!names_.insert(name).second) return wrong("{} appears twice", what);
    INTAGLIO_ASSIGN(const Value type, read_type(cursor_, what));
    if (type == Value::kArray) return read_array(name, what);
    if (type == Value::kText) return read_text(std::move(name), what);
    INTAGLIO_ASSIGN(Scalar value, read_scalar(cursor_, type, what));
    if (name == kAlignmentKey) {
      // 2^31 would do, but for files that it has no room in.
      if (!value.is_integer || !std::has_single_bit(value.integer) ||
          value.integer > cursor_.size())
        return wrong("{} is {}, expected a power of two, no larger than the file", what,
                     printable(value.text, 60));
      alignment_ = value.integer;
    }
    metadata_.emplace(std::move(name), std::move(value.text));
    return {};
  }

  Status read_text(std::string name, const std::string& what) {
    if (name == kAlignmentKey) return wrong("{} is a text, expected a number", what);
    INTAGLIO_ASSIGN(const uint64_t length, cursor_.number<uint64_t>(what));
    if (length > kMaxTextBytes) return cursor_.skip(length, what);
    std::string text(length, '\0');
    INTAGLIO_TRY(cursor_.read(std::as_writable_bytes(std::span(text)), what));
    metadata_.emplace(std::move(name), std::move(text));
    return {};
  }

  Status read_array(const std::string& name, const std::string& what) {
    INTAGLIO_ASSIGN(const Value type, read_type(cursor_, what));
    INTAGLIO_ASSIGN(const uint64_t count, cursor_.number<uint64_t>(what));
    if (type == Value::kArray) return wrong("{} is an array of arrays", what);
    if (count > cursor_.left() / least_bytes(type))
      return wrong("{} is an array of {} values in a file of {} bytes, which has no room for them",
                   what, count, cursor_.size());
    if (name.starts_with(kOrigShapeKey)) return read_orig_shape(name, what, type, count);
    if (type != Value::kText) return cursor_.skip(count * least_bytes(type), what);
    for (uint64_t i = 0; i < count; ++i) {
      INTAGLIO_ASSIGN(const uint64_t length, cursor_.number<uint64_t>(what));
      INTAGLIO_TRY(cursor_.skip(length, what));
    }
    return {};
  }

  Status read_orig_shape(const std::string& name, const std::string& what, Value type,
                         uint64_t count) {
    std::vector<uint64_t> sizes;
    if (count > static_cast<uint64_t>(kMaxRank))
      return wrong("{} has {} sizes, at most {} expected", what, count, kMaxRank);
    for (uint64_t i = 0; i < count; ++i) {
      INTAGLIO_ASSIGN(const Scalar size, read_scalar(cursor_, type, what));
      if (!size.is_integer)
        return wrong("{} has a size {}, expected whole numbers", what, printable(size.text, 60));
      sizes.push_back(size.integer);
    }
    shapes_.emplace(name.substr(kOrigShapeKey.size()), std::move(sizes));
    return {};
  }

  Status read_tensor_info(uint64_t index) {
    Record record;
    INTAGLIO_ASSIGN(record.name, read_name(fmt::format("tensor {} of {}", index + 1, tensors_)));
    const std::string what = fmt::format("tensor \"{}\"", printable(record.name));
    INTAGLIO_ASSIGN(const auto rank, cursor_.number<uint32_t>(what));
    if (rank > kMaxDimensions)
      return wrong("{} has {} dimensions, at most {} expected", what, rank, kMaxDimensions);
    for (uint32_t i = 0; i < rank; ++i) {
      INTAGLIO_ASSIGN(const auto size, cursor_.number<uint64_t>(what));
      if (size == 0) return wrong("{} has a dimension of 0 elements", what);
      record.sizes.insert(record.sizes.begin(), size);
    }
    INTAGLIO_ASSIGN(const auto type, cursor_.number<uint32_t>(what));
    INTAGLIO_ASSIGN(record.begin, cursor_.number<uint64_t>(what));
    record.type = find_ggml_type(type);
    if (record.type == nullptr) return wrong("{} is of type {}, which is not known", what, type);
    INTAGLIO_ASSIGN(record.bytes, bytes_of(record, what));
    records_.push_back(std::move(record));
    return {};
  }

  Expected<uint64_t> bytes_of(const Record& record, const std::string& what) const {
    const GgmlType& type = *record.type;
    const std::optional<uint64_t> count = product(record.sizes);
    if (!count) return wrong("{} has more elements than can be counted", what);
    const auto block = static_cast<uint64_t>(type.elements);
    const uint64_t row = record.sizes.empty() ? 1 : record.sizes.back();
    if (row % block != 0)
      return wrong("{} has rows of {} elements in {}, expected a multiple of {}", what, row,
                   type.name, block);
    const std::optional<uint64_t> bytes =
        product(std::array{*count / block, static_cast<uint64_t>(type.bytes)});
    if (!bytes) return wrong("{} has more bytes than can be counted", what);
    return *bytes;
  }

  // Where the data begins: behind the header, at a multiple of the alignment.
  Status place_data() {
    data_begin_ = (cursor_.at() + alignment_ - 1) / alignment_ * alignment_;
    if (data_begin_ <= cursor_.size() || records_.empty()) return {};
    return wrong("ends at byte {}, before its data at {}; truncated?", cursor_.size(), data_begin_);
  }

  // Every tensor lies within the file, at a multiple of the alignment, and apart from the others.
  Status check_offsets() {
    const uint64_t data_bytes = cursor_.size() - std::min(data_begin_, cursor_.size());
    std::vector<const Record*> order;
    order.reserve(records_.size());
    std::set<std::string_view> names;
    for (const Record& record : records_) {
      const std::string name = printable(record.name);
      if (!names.insert(record.name).second) return wrong("tensor \"{}\" appears twice", name);
      if (record.begin % alignment_ != 0)
        return wrong("tensor \"{}\" begins at byte {} of the data, expected a multiple of {}", name,
                     record.begin, alignment_);
      if (record.begin > data_bytes || record.bytes > data_bytes - record.begin)
        return wrong(
            "tensor \"{}\" has {} bytes from byte {} on, outside the {} of data; truncated?", name,
            record.bytes, record.begin, data_bytes);
      order.push_back(&record);
    }
    std::sort(order.begin(), order.end(),
              [](const Record* a, const Record* b) { return a->begin < b->begin; });
    uint64_t end = 0;
    for (const Record* record : order) {
      if (record->begin < end)
        return wrong("tensor \"{}\" overlaps the one before it in the data",
                     printable(record->name));
      end = record->begin + record->bytes;
    }
    return {};
  }

  // Shapes that their writer had to fold. Elements stay where they are.
  Status restore_shapes() {
    for (Record& record : records_) {
      const auto found = shapes_.find(record.name);
      if (found == shapes_.end()) continue;
      const std::vector<uint64_t>& sizes = found->second;
      const bool empty = std::find(sizes.begin(), sizes.end(), uint64_t{0}) != sizes.end();
      if (empty || product(sizes) != product(record.sizes))
        return wrong("key \"{}{}\" has another number of elements than the tensor", kOrigShapeKey,
                     printable(record.name));
      record.sizes = sizes;
    }
    return {};
  }

  Cursor cursor_;
  uint64_t tensors_ = 0, keys_ = 0;
  uint64_t alignment_ = kDefaultAlignment;
  uint64_t data_begin_ = 0;
  std::set<std::string> names_;  // of keys
  std::map<std::string, std::string> metadata_;
  std::map<std::string, std::vector<uint64_t>> shapes_;  // by tensor
  std::vector<Record> records_;
};

Expected<std::shared_ptr<const GgufFile>> GgufFile::open(const std::filesystem::path& path) {
  using Result = Expected<std::shared_ptr<const GgufFile>>;
  return guard_file_memory(path, "reading", [&]() -> Result {
    auto file = std::make_shared<GgufFile>();
    INTAGLIO_ASSIGN(file->input_, InputFile::open(path));
    file->path_ = path;
    GgufParser parser(Cursor(path.string(), *file->input_));
    INTAGLIO_TRY(parser.parse());
    parser.give(*file, nullptr);
    return file;
  });
}

Expected<std::shared_ptr<const GgufFile>> GgufFile::parse(std::span<const std::byte> bytes,
                                                          const std::string& name) {
  auto file = std::make_shared<GgufFile>();
  file->path_ = name;
  GgufParser parser(Cursor(name, bytes));
  INTAGLIO_TRY(parser.parse());
  parser.give(*file, bytes.data());
  return file;
}

}  // namespace intaglio
