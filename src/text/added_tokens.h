// Finds added tokens ("<|im_start|>") in text: leftmost first, the longest of those that start at
// one place.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace intaglio {

class AddedTokenFinder {
 public:
  static constexpr size_t kNotFound = ~size_t{0};

  struct Match {
    size_t begin = kNotFound;
    size_t end = kNotFound;
    size_t value = 0;
  };

  // `content` is not empty; a content added again keeps its last value.
  void add(std::string_view content, size_t value);
  bool empty() const { return nodes_.size() == 1; }
  // First match at or after `from`. Costs at most the longest content for each byte.
  Match find(std::string_view text, size_t from) const;

 private:
  uint32_t child(uint32_t node, unsigned char byte) const;  // 0 if none

  std::vector<size_t> nodes_{kNotFound};  // the value that ends at each node; node 0 is the root
  std::array<uint32_t, 256> first_{};     // children of the root
  std::unordered_map<uint64_t, uint32_t> children_;  // of the others, by node << 8 | byte
};

}  // namespace intaglio
