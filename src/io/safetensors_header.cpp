#include "io/safetensors_header.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "io/printable.h"

namespace intaglio {
namespace {

// Types of the published reader that no DType stands for, and bits of an element.
struct ForeignType {
  std::string_view name;
  uint64_t bits;
};
constexpr std::array<ForeignType, 7> kForeignTypes{{{"F4", 4},
                                                    {"F6_E2M3", 6},
                                                    {"F6_E3M2", 6},
                                                    {"F8_E8M0", 8},
                                                    {"F8_E4M3FNUZ", 8},
                                                    {"F8_E5M2FNUZ", 8},
                                                    {"C64", 64}}};

// Bits of an element of a type in the file's words; 0: unknown.
uint64_t type_bits(std::string_view type) {
  if (const std::optional<DType> dtype = dtype_from_name(type)) return 8 * dtype_size(*dtype);
  for (const ForeignType& foreign : kForeignTypes)
    if (foreign.name == type) return foreign.bits;
  return 0;
}

// Bits of a tensor; nullopt if the count or the size overflows. Zero sizes count as one for the
// check, so that no product of some of the sizes can overflow later either.
std::optional<uint64_t> checked_bits(const std::vector<int64_t>& sizes, uint64_t bits) {
  auto bound = static_cast<int64_t>(bits);
  bool empty = false;
  for (const int64_t size : sizes) {
    empty = empty || size == 0;
    if (__builtin_mul_overflow(bound, std::max<int64_t>(size, 1), &bound)) return std::nullopt;
  }
  return empty ? 0 : static_cast<uint64_t>(bound);
}

// Reads {name: {dtype, shape, data_offsets}, "__metadata__": {key: text}} and stops at the first
// thing that cannot be; other keys of a tensor are passed over.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(uint64_t data_bytes) : data_bytes_(data_bytes) {}
  SafetensorsHeader take() { return std::move(header_); }
  const std::string& problem() const { return problem_; }

  bool null() override {
    if (passed_over()) return true;
    if (where_ == Where::kNames && key_ == "__metadata__" && !has_metadata_)
      return has_metadata_ = true;
    return wrong("null");
  }
  bool boolean(bool) override { return passed_over() || wrong("a boolean"); }
  bool number_float(double, const std::string&) override {
    return passed_over() || wrong("a fraction or a number too large");
  }
  bool binary(binary_t&) override { return passed_over() || wrong("binary data"); }
  bool number_integer(int64_t value) override {
    if (passed_over()) return true;
    if (value < 0) return wrong(fmt::format("{}", value));
    return number_unsigned(static_cast<uint64_t>(value));
  }

  bool number_unsigned(uint64_t value) override {
    if (passed_over()) return true;
    if (where_ == Where::kShape) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        return fail("a dimension is too large");
      sizes_.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (where_ == Where::kOffsets) {
      if (offset_count_ == 2) return fail("data_offsets: expected 2 numbers, found more");
      (offset_count_++ == 0 ? record_.begin : record_.end) = value;
      return true;
    }
    return wrong(fmt::format("{}", value));
  }

  bool string(std::string& value) override {
    if (passed_over()) return true;
    if (where_ == Where::kMetadata) {
      header_.metadata[key_] = std::move(value);
      return true;
    }
    if (where_ != Where::kTensor || key_ != "dtype")
      return wrong(fmt::format("\"{}\"", printable(value, 60)));
    type_ = std::move(value);
    return true;
  }

  bool start_object(std::size_t) override {
    if (opens_unknown()) return true;
    if (where_ == Where::kStart) {
      where_ = Where::kNames;
    } else if (where_ == Where::kNames && key_ == "__metadata__") {
      if (has_metadata_) return fail("appears twice");
      has_metadata_ = true;
      where_ = Where::kMetadata;
    } else if (where_ == Where::kNames) {
      // Whoever takes the name for C's text would know it by its begin.
      if (key_.find('\0') != std::string::npos) return fail("its name holds a NUL character");
      record_ = SafetensorsRecord{};
      record_.name = key_;
      sizes_.clear();
      has_dtype_ = has_shape_ = has_offsets_ = false;
      where_ = Where::kTensor;
    } else {
      return wrong("an object");
    }
    return true;
  }

  bool key(std::string& name) override {
    if (unknown_depth_ > 0) return true;
    if (where_ == Where::kNames) name_ = name;
    if (where_ == Where::kTensor) {
      bool* seen = name == "dtype"          ? &has_dtype_
                   : name == "shape"        ? &has_shape_
                   : name == "data_offsets" ? &has_offsets_
                                            : nullptr;
      is_unknown_ = seen == nullptr;
      if (is_unknown_) return true;
      if (*seen) return fail(fmt::format("key \"{}\" appears twice", name));
      *seen = true;
    }
    key_ = std::move(name);
    return true;
  }

  bool end_object() override {
    if (closes_unknown()) return true;
    if (where_ == Where::kTensor) {
      if (!has_dtype_) return fail("has no dtype");
      if (!has_shape_) return fail("has no shape");
      if (!has_offsets_) return fail("has no data_offsets");
      if (!finish_record()) return false;
      header_.records.push_back(std::move(record_));
    }
    where_ = where_ == Where::kNames ? Where::kEnd : Where::kNames;
    return true;
  }

  bool start_array(std::size_t) override {
    if (opens_unknown()) return true;
    if (where_ == Where::kTensor && key_ == "shape") {
      where_ = Where::kShape;
    } else if (where_ == Where::kTensor && key_ == "data_offsets") {
      where_ = Where::kOffsets;
      offset_count_ = 0;
    } else {
      return wrong("an array");
    }
    return true;
  }

  bool end_array() override {
    if (closes_unknown()) return true;
    if (where_ == Where::kOffsets && offset_count_ != 2) {
      return fail(fmt::format("data_offsets: expected 2 numbers, found {}", offset_count_));
    }
    where_ = Where::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    problem_ = fmt::format("header is not valid JSON at byte {}", position);
    return false;
  }

 private:
  enum class Where { kStart, kNames, kTensor, kShape, kOffsets, kMetadata, kEnd };

  // Whether a value belongs to a key that is passed over.
  bool passed_over() {
    if (unknown_depth_ > 0) return true;
    return std::exchange(is_unknown_, false);
  }
  bool opens_unknown() {
    if (unknown_depth_ == 0 && !std::exchange(is_unknown_, false)) return false;
    ++unknown_depth_;
    return true;
  }
  bool closes_unknown() {
    if (unknown_depth_ == 0) return false;
    --unknown_depth_;
    return true;
  }

  // Type, shape and bytes of the record agree; a foreign one stands for its bytes.
  bool finish_record() {
    SafetensorsRecord& r = record_;
    const auto text = [&] {
      return fmt::format("{} [{}]", printable(type_, 60),
                         fmt::join(sizes_.begin(), sizes_.begin() + shown_sizes(), ", "));
    };
    if (r.begin > r.end || r.end > data_bytes_)
      return fail(fmt::format("data_offsets [{}, {}] outside the {} bytes of data", r.begin, r.end,
                              data_bytes_));
    if (const uint64_t element = type_bits(type_); element > 0) {
      const std::optional<uint64_t> bits = checked_bits(sizes_, element);
      if (!bits || *bits % 8 != 0 || *bits / 8 != r.end - r.begin)
        return fail(fmt::format("{} needs {} bytes, found {}", text(),
                                !bits            ? "too many"
                                : *bits % 8 != 0 ? fmt::format("{} and a part", *bits / 8)
                                                 : std::to_string(*bits / 8),
                                r.end - r.begin));
    }
    const std::optional<DType> dtype = dtype_from_name(type_);
    if (dtype && sizes_.size() <= static_cast<size_t>(kMaxRank)) {
      r.dtype = *dtype;
      r.shape.rank = static_cast<int>(sizes_.size());
      std::copy(sizes_.begin(), sizes_.end(), r.shape.dims.begin());
      return true;
    }
    r.foreign = text();
    r.dtype = DType::kU8;
    r.shape = Shape{static_cast<int64_t>(r.end - r.begin)};
    return true;
  }
  // Of a shape in a message: a hostile one has millions.
  ptrdiff_t shown_sizes() const {
    return static_cast<ptrdiff_t>(std::min<size_t>(sizes_.size(), 16));
  }

  bool fail(const std::string& what) {
    problem_ = fmt::format("tensor \"{}\": {}", printable(name_), what);
    return false;
  }
  bool wrong(const std::string& found) {
    switch (where_) {
      case Where::kTensor:
        return fail(fmt::format("key \"{}\": unexpected {}", printable(key_, 60), found));
      case Where::kShape:
        return fail(fmt::format("shape: expected sizes, found {}", found));
      case Where::kOffsets:
        return fail(fmt::format("data_offsets: expected offsets, found {}", found));
      case Where::kMetadata:
        problem_ =
            fmt::format("metadata \"{}\": expected text, found {}", printable(key_, 60), found);
        return false;
      case Where::kNames:
        return fail(fmt::format("expected an object, found {}", found));
      default:
        problem_ = fmt::format("header: expected an object, found {}", found);
        return false;
    }
  }

  uint64_t data_bytes_;
  SafetensorsHeader header_;
  SafetensorsRecord record_;
  Where where_ = Where::kStart;
  std::string name_, key_, type_, problem_;
  std::vector<int64_t> sizes_;  // of the shape being read
  bool is_unknown_ = false;     // the key just read is none of a tensor's
  int unknown_depth_ = 0;       // brackets open in the value of such a key
  int offset_count_ = 0;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false, has_metadata_ = false;
};

// The first record that leaves a hole or overlaps its neighbour; empty if the records tile [0,
// data_bytes).
std::string tiling_problem(const std::vector<SafetensorsRecord>& records, uint64_t data_bytes) {
  std::vector<const SafetensorsRecord*> order;
  order.reserve(records.size());
  for (const SafetensorsRecord& record : records) order.push_back(&record);
  std::sort(order.begin(), order.end(), [](const SafetensorsRecord* a, const SafetensorsRecord* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  uint64_t next = 0;
  for (const SafetensorsRecord* record : order) {
    if (record->begin < next) {
      return fmt::format("tensor \"{}\": bytes {}..{} overlap another tensor's",
                         printable(record->name), record->begin, record->end);
    }
    if (record->begin > next) {
      return fmt::format("tensor \"{}\": starts at byte {} of the data, {} expected (a hole)",
                         printable(record->name), record->begin, next);
    }
    next = record->end;
  }
  if (next != data_bytes) {
    return fmt::format("{} bytes of data belong to no tensor", data_bytes - next);
  }
  return {};
}

}  // namespace

Expected<SafetensorsHeader> parse_safetensors_header(std::string_view json, uint64_t data_bytes,
                                                     const std::string& file) {
  // The parser would take it for the end, and pass over what comes after.
  if (json.find('\0') != std::string_view::npos)
    return make_error(ErrorCode::kBadFormat, "{}: the header holds a NUL byte", file);
  SafetensorsHeader header;
  try {
    HeaderHandler handler(data_bytes);
    if (!nlohmann::json::sax_parse(json.begin(), json.end(), &handler)) {
      return make_error(ErrorCode::kBadFormat, "{}: {}", file, handler.problem());
    }
    header = handler.take();
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception&) {
    return make_error(ErrorCode::kBadFormat, "{}: the header cannot be read", file);
  }

  std::vector<SafetensorsRecord>& records = header.records;
  std::sort(records.begin(), records.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  for (size_t i = 0; i < records.size(); ++i) {
    const SafetensorsRecord& record = records[i];
    if (i > 0 && records[i - 1].name == record.name) {
      return make_error(ErrorCode::kBadFormat, "{}: tensor \"{}\" appears twice", file,
                        printable(record.name));
    }
  }
  if (const std::string problem = tiling_problem(records, data_bytes); !problem.empty()) {
    return make_error(ErrorCode::kBadFormat, "{}: {}", file, problem);
  }
  return header;
}

}  // namespace intaglio
