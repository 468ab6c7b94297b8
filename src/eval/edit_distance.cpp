#include "eval/edit_distance.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "core/utf8.h"

namespace intaglio {
namespace {

std::vector<int32_t> code_points(std::string_view text) {
  std::vector<int32_t> points;
  while (!text.empty()) {
    const DecodedUtf8 next = decode_utf8(text);
    // What is no UTF-8 is equal to the same byte only.
    const int32_t byte = -1 - int32_t{static_cast<unsigned char>(text.front())};
    points.push_back(next.code_point < 0 ? byte : next.code_point);
    text.remove_prefix(next.code_point < 0 ? 1 : next.bytes);
  }
  return points;
}

int64_t distance(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  // Of the first i of a to the first j of b, a row of i at a time.
  std::vector<int64_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), int64_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    int64_t diagonal = row[0];
    row[0] = static_cast<int64_t>(i) + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const int64_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

int64_t edit_distance(std::string_view a, std::string_view b) {
  return distance(code_points(a), code_points(b));
}

double edit_similarity(std::string_view a, std::string_view b) {
  const std::vector<int32_t> one = code_points(a), other = code_points(b);
  const size_t longer = std::max(one.size(), other.size());
  if (longer == 0) return 1.0;
  return 1.0 - static_cast<double>(distance(one, other)) / static_cast<double>(longer);
}

}  // namespace intaglio
