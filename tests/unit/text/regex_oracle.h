// A regular expression of PCRE2 (UTF, Unicode properties): what the hand-written scanner is
// compared with.
#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <gtest/gtest.h>
#include <pcre2.h>

#include <string>
#include <string_view>
#include <vector>

namespace intaglio::test {

class RegexOracle {
 public:
  explicit RegexOracle(std::string_view pattern) {
    int code = 0;
    PCRE2_SIZE offset = 0;
    regex_ = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                           PCRE2_UTF | PCRE2_UCP, &code, &offset, nullptr);
    if (regex_ == nullptr) {
      ADD_FAILURE() << "PCRE2 refuses the pattern at " << offset;
      return;
    }
    pcre2_jit_compile(regex_, PCRE2_JIT_COMPLETE);
    match_ = pcre2_match_data_create_from_pattern(regex_, nullptr);
  }
  RegexOracle(const RegexOracle&) = delete;
  RegexOracle& operator=(const RegexOracle&) = delete;
  ~RegexOracle() {
    pcre2_match_data_free(match_);
    pcre2_code_free(regex_);
  }

  bool matches(std::string_view text) const {
    return pcre2_match(regex_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0,
                       PCRE2_NO_UTF_CHECK, match_, nullptr) > 0;
  }

  // Lengths of the matches that tile `text` (valid UTF-8), and of what lies between matches.
  void split(std::string_view text, std::vector<size_t>& lengths) const {
    lengths.clear();
    for (size_t offset = 0; offset < text.size();) {
      const int found = pcre2_match(regex_, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(),
                                    offset, PCRE2_NO_UTF_CHECK, match_, nullptr);
      if (found < 1) {
        lengths.push_back(text.size() - offset);
        return;
      }
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(match_);
      if (range[0] > offset) lengths.push_back(range[0] - offset);
      lengths.push_back(range[1] - range[0]);
      offset = range[1];
    }
  }

 private:
  pcre2_code* regex_ = nullptr;
  pcre2_match_data* match_ = nullptr;
};

}  // namespace intaglio::test
