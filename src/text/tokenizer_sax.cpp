#include "text/tokenizer_sax.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "io/printable.h"

namespace intaglio {

bool TokenizerSax::fail(std::string why) {
  if (error_.empty()) error_ = std::move(why);
  return false;
}

TokenizerSax::Json* TokenizerSax::add(Json value) {
  if (stack_.empty()) {
    root_ = std::move(value);
    return &root_;
  }
  Json& parent = *stack_.back();
  if (parent.is_array()) {
    parent.push_back(std::move(value));
    return &parent.back();
  }
  Json& slot = parent[key_];
  slot = std::move(value);
  return &slot;
}

bool TokenizerSax::scalar(Json value) {
  if (part_ == Part::kVocab)
    return fail(
        fmt::format("model.vocab: the id of \"{}\" is not a whole number", printable(key_)));
  if (part_ != Part::kDocument) {
    return fail(fmt::format("model.merges: entry {} is neither \"a b\" nor [\"a\", \"b\"]",
                            file_.merges.size() / 2));
  }
  add(std::move(value));
  return true;
}

bool TokenizerSax::number_unsigned(uint64_t value) {
  if (part_ != Part::kVocab) return scalar(value);
  if (value > static_cast<uint64_t>(kMaxTokenId)) {
    return fail(fmt::format("model.vocab: \"{}\" has the id {}; the largest allowed is {}",
                            printable(key_), value, kMaxTokenId));
  }
  file_.tokens.add(key_);
  file_.ids.push_back(static_cast<int32_t>(value));
  return true;
}

bool TokenizerSax::string(std::string& value) {
  if (part_ == Part::kMerges) {
    const size_t space = value.find(' ');
    if (space == std::string::npos || value.find(' ', space + 1) != std::string::npos) {
      return fail(fmt::format(
          "model.merges: entry {} is \"{}\", expected two tokens with one space between",
          file_.merges.size() / 2, printable(value)));
    }
    file_.merges.add(std::string_view(value).substr(0, space));
    file_.merges.add(std::string_view(value).substr(space + 1));
    return true;
  }
  if (part_ == Part::kMergePair) {
    if (++pair_size_ > 2)
      return fail(fmt::format("model.merges: entry {} has more than two tokens",
                              file_.merges.size() / 2 - 1));
    file_.merges.add(value);
    return true;
  }
  return scalar(std::move(value));
}

bool TokenizerSax::open(Json value) {
  if (part_ != Part::kDocument) return scalar(nullptr);
  if (stack_.size() >= kMaxTokenizerDepth)
    return fail(fmt::format("nested deeper than {} levels", kMaxTokenizerDepth));
  if (stack_.size() == 1)
    in_model_ = key_ == "model" && stack_.back()->is_object() && value.is_object();
  stack_.push_back(add(std::move(value)));
  return true;
}

bool TokenizerSax::close() {
  stack_.pop_back();
  return true;
}

bool TokenizerSax::start_object(size_t) {
  if (part_ == Part::kDocument && in_model("vocab")) {
    add(nullptr);
    has_vocab_ = true;
    part_ = Part::kVocab;
    return true;
  }
  return open(Json::object());
}

bool TokenizerSax::key(std::string& value) {
  // A second "model" or "vocab" would silently replace or mix with the first.
  if (part_ == Part::kDocument && stack_.back()->contains(value))
    return fail(fmt::format("the key \"{}\" comes twice in one object", printable(value)));
  std::swap(key_, value);
  return true;
}

bool TokenizerSax::end_object() {
  if (part_ == Part::kVocab) {
    part_ = Part::kDocument;
    return true;
  }
  return close();
}

bool TokenizerSax::start_array(size_t) {
  if (part_ == Part::kDocument && in_model("merges")) {
    add(nullptr);
    has_merges_ = true;
    part_ = Part::kMerges;
    return true;
  }
  if (part_ == Part::kMerges) {
    part_ = Part::kMergePair;
    pair_size_ = 0;
    return true;
  }
  return open(Json::array());
}

bool TokenizerSax::end_array() {
  if (part_ == Part::kMergePair) {
    if (pair_size_ != 2)
      return fail(fmt::format("model.merges: entry {} has {} tokens, expected 2",
                              file_.merges.size() / 2, pair_size_));
    part_ = Part::kMerges;
    return true;
  }
  if (part_ == Part::kMerges) {
    part_ = Part::kDocument;
    return true;
  }
  return close();
}

bool TokenizerSax::parse_error(size_t position, const std::string&, const Json::exception&) {
  return fail(fmt::format("not JSON at byte {}", position));
}

}  // namespace intaglio
