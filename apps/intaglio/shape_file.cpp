#include "shape_file.h"

#include <sstream>

#include "argument_values.h"
#include "core/escape.h"
#include "core/files.h"
#include "io/printable.h"
#include "ops/cuda/tuning/s8_gemm_names.h"

namespace intaglio::cli {
namespace {

constexpr int64_t kMaxSide = 1 << 20;
constexpr int64_t kMaxDepth = 130000;  // int32 sums stay exact up to here
constexpr int64_t kMaxElements = int64_t{1} << 33;

// Takes the words behind the sizes off the end of a line.
void take_options(std::vector<std::string>& words, cuda::S8GemmShape& shape) {
  while (!words.empty()) {
    if (const auto epilogue = cuda::epilogue_from_name(words.back())) {
      shape.epilogue = *epilogue;
    } else if (const auto out = cuda::s8_out_from_name(words.back())) {
      shape.out_type = *out;
    } else {
      return;
    }
    words.pop_back();
  }
}

}  // namespace

Status check_shape(const cuda::S8GemmShape& s, const std::string& where) {
  const bool sides =
      s.m >= 1 && s.n >= 1 && s.k >= 1 && s.m <= kMaxSide && s.n <= kMaxSide && s.k <= kMaxDepth;
  if (sides && s.m * s.k <= kMaxElements && s.n * s.k <= kMaxElements && s.m * s.n <= kMaxElements)
    return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "{}: m {}, n {}, k {} out of range; expected m, n in 1 .. {}, k in 1 .. {}",
                    where, s.m, s.n, s.k, kMaxSide, kMaxDepth);
}

Expected<std::vector<ShapeLine>> read_shape_file(const std::string& path) {
  INTAGLIO_ASSIGN(const std::string text, read_file(path, size_t{1} << 20));
  std::vector<ShapeLine> shapes;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream stream(line.substr(0, line.find('#')));
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    if (words.empty()) continue;
    ShapeLine item;
    take_options(words, item.shape);
    if (words.size() == 4) {
      item.name = printable(words.front(), 40);
      words.erase(words.begin());
    }
    const std::string where = message_of("{}:{}", path, number);
    int64_t* const sizes[] = {&item.shape.m, &item.shape.n, &item.shape.k};
    bool good = words.size() == 3;
    for (size_t i = 0; good && i < 3; ++i) {
      const std::optional<int64_t> size = whole_number(words[i]);
      good = size.has_value();
      *sizes[i] = size.value_or(0);
    }
    if (!good) {
      return make_error(ErrorCode::kInvalidArgument,
                        "{}: expected \"[name] m n k [swiglu or gelu_tanh] [bf16]\", found \"{}\"",
                        where, printable(line, 80));
    }
    INTAGLIO_TRY(check_shape(item.shape, where));
    if (is_gated(item.shape.epilogue) && item.shape.n % 32 != 0) {
      return make_error(ErrorCode::kInvalidArgument,
                        "{}: with {} n must be a multiple of 32, found {}", where,
                        epilogue_name(item.shape.epilogue), item.shape.n);
    }
    shapes.push_back(std::move(item));
  }
  if (shapes.empty()) return make_error(ErrorCode::kInvalidArgument, "{}: no shapes in it", path);
  return shapes;
}

}  // namespace intaglio::cli
