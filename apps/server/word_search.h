// Words of a search in prompts.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace intaglio::server {

class WordSearch {
 public:
  explicit WordSearch(std::string_view text);

  bool empty() const { return words_.empty(); }
  // Whether each of its words is one of the prompt's, or begins one, without regard to case or
  // accents.
  bool found_in(std::string_view prompt) const;

 private:
  std::vector<std::string> words_;
};

}  // namespace intaglio::server
