#include "io/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "io/printable.h"

namespace intaglio {
namespace {

// Accepts only {name: {dtype, shape, data_offsets}, "__metadata__": {key: text}} and stops at the
// first thing that is not so.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  SafetensorsHeader take() { return std::move(header_); }
  const std::string& problem() const { return problem_; }

  bool null() override { return wrong("null"); }
  bool boolean(bool) override { return wrong("a boolean"); }
  bool number_float(double, const std::string&) override {
    return wrong("a fraction or a number too large");
  }
  bool binary(binary_t&) override { return wrong("binary data"); }
  bool number_integer(int64_t value) override {
    if (value < 0) return wrong(fmt::format("{}", value));
    return number_unsigned(static_cast<uint64_t>(value));
  }

  bool number_unsigned(uint64_t value) override {
    if (where_ == Where::kShape) {
      Shape& shape = record_.shape;
      if (shape.rank == kMaxRank) return fail(fmt::format("more than {} dimensions", kMaxRank));
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        return fail("a dimension is too large");
      shape.dims[static_cast<size_t>(shape.rank++)] = static_cast<int64_t>(value);
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
    if (where_ == Where::kMetadata) {
      header_.metadata[key_] = std::move(value);
      return true;
    }
    if (where_ != Where::kTensor || key_ != "dtype")
      return wrong(fmt::format("\"{}\"", printable(value, 60)));
    const std::optional<DType> dtype = dtype_from_name(value);
    if (!dtype) return fail(fmt::format("unknown type \"{}\"", printable(value, 60)));
    record_.dtype = *dtype;
    return true;
  }

  bool start_object(std::size_t) override {
    if (where_ == Where::kStart) {
      where_ = Where::kNames;
    } else if (where_ == Where::kNames && key_ == "__metadata__") {
      if (has_metadata_) return fail("appears twice");
      has_metadata_ = true;
      where_ = Where::kMetadata;
    } else if (where_ == Where::kNames) {
      record_ = SafetensorsRecord{};
      record_.name = key_;
      has_dtype_ = has_shape_ = has_offsets_ = false;
      where_ = Where::kTensor;
    } else {
      return wrong("an object");
    }
    return true;
  }

  bool key(std::string& name) override {
    if (where_ == Where::kNames) name_ = name;
    if (where_ == Where::kTensor) {
      bool* seen = name == "dtype"          ? &has_dtype_
                   : name == "shape"        ? &has_shape_
                   : name == "data_offsets" ? &has_offsets_
                                            : nullptr;
      if (seen == nullptr) return fail(fmt::format("unknown key \"{}\"", printable(name, 60)));
      if (*seen) return fail(fmt::format("key \"{}\" appears twice", name));
      *seen = true;
    }
    key_ = std::move(name);
    return true;
  }

  bool end_object() override {
    if (where_ == Where::kTensor) {
      if (!has_dtype_) return fail("has no dtype");
      if (!has_shape_) return fail("has no shape");
      if (!has_offsets_) return fail("has no data_offsets");
      header_.records.push_back(std::move(record_));
    }
    where_ = where_ == Where::kNames ? Where::kEnd : Where::kNames;
    return true;
  }

  bool start_array(std::size_t) override {
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
    if (where_ == Where::kOffsets && offset_count_ != 2) {
      return fail(fmt::format("data_offsets: expected 2 numbers, found {}", offset_count_));
    }
    where_ = Where::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& exception) override {
    problem_ = fmt::format("header is not valid JSON at byte {}: {}", position,
                           printable(exception.what(), 200));
    return false;
  }

 private:
  enum class Where { kStart, kNames, kTensor, kShape, kOffsets, kMetadata, kEnd };

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

  SafetensorsHeader header_;
  SafetensorsRecord record_;
  Where where_ = Where::kStart;
  std::string name_, key_, problem_;
  int offset_count_ = 0;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false, has_metadata_ = false;
};

// Bytes of a tensor; nullopt if the count or the size overflows. Zero sizes count as one for the
// check, so that no product of some of the sizes can overflow later either.
std::optional<uint64_t> checked_bytes(const Shape& shape, DType dtype) {
  int64_t bound = static_cast<int64_t>(dtype_size(dtype));
  bool empty = false;
  for (int axis = 0; axis < shape.rank; ++axis) {
    empty = empty || shape[axis] == 0;
    if (__builtin_mul_overflow(bound, std::max<int64_t>(shape[axis], 1), &bound))
      return std::nullopt;
  }
  return empty ? 0 : static_cast<uint64_t>(bound);
}

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
  SafetensorsHeader header;
  try {
    HeaderHandler handler;
    if (!nlohmann::json::sax_parse(json.begin(), json.end(), &handler)) {
      return make_error(ErrorCode::kBadFormat, "{}: {}", file, handler.problem());
    }
    header = handler.take();
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& exception) {
    return make_error(ErrorCode::kBadFormat, "{}: header: {}", file, printable(exception.what()));
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
    if (record.begin > record.end || record.end > data_bytes) {
      return make_error(ErrorCode::kBadFormat,
                        "{}: tensor \"{}\": data_offsets [{}, {}] outside the {} bytes of data",
                        file, printable(record.name), record.begin, record.end, data_bytes);
    }
    const std::optional<uint64_t> expected = checked_bytes(record.shape, record.dtype);
    if (!expected || *expected != record.end - record.begin) {
      return make_error(ErrorCode::kBadFormat, "{}: tensor \"{}\": {} {} needs {} bytes, found {}",
                        file, printable(record.name), dtype_name(record.dtype),
                        to_string(record.shape), expected ? std::to_string(*expected) : "too many",
                        record.end - record.begin);
    }
  }
  if (const std::string problem = tiling_problem(records, data_bytes); !problem.empty()) {
    return make_error(ErrorCode::kBadFormat, "{}: {}", file, problem);
  }
  return header;
}

}  // namespace intaglio
