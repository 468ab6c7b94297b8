#include "text/added_tokens.h"

namespace intaglio {

uint32_t AddedTokenFinder::child(uint32_t node, unsigned char byte) const {
  if (node == 0) return first_[byte];
  const auto it = children_.find((static_cast<uint64_t>(node) << 8) | byte);
  return it == children_.end() ? 0 : it->second;
}

void AddedTokenFinder::add(std::string_view content, size_t value) {
  uint32_t node = 0;
  for (const char c : content) {
    const auto byte = static_cast<unsigned char>(c);
    uint32_t next = child(node, byte);
    if (next == 0) {
      next = static_cast<uint32_t>(nodes_.size());
      nodes_.push_back(kNotFound);
      if (node == 0) {
        first_[byte] = next;
      } else {
        children_.emplace((static_cast<uint64_t>(node) << 8) | byte, next);
      }
    }
    node = next;
  }
  nodes_[node] = value;
}

AddedTokenFinder::Match AddedTokenFinder::find(std::string_view text, size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    Match match;
    uint32_t node = 0;
    for (size_t i = begin; i < text.size(); ++i) {
      node = child(node, static_cast<unsigned char>(text[i]));
      if (node == 0) break;
      if (nodes_[node] != kNotFound) match = {begin, i + 1, nodes_[node]};
    }
    if (match.begin != kNotFound) return match;
  }
  return {};
}

}  // namespace intaglio
