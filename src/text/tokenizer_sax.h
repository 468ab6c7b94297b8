// The event handler behind read_tokenizer_file: model.vocab and model.merges go to string pools,
// the rest becomes a small JSON document.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "text/tokenizer_json.h"

namespace intaglio {

class TokenizerSax {
 public:
  using Json = nlohmann::json;

  explicit TokenizerSax(TokenizerFile& file) : file_(file) {}

  const Json& document() const { return root_; }
  const std::string& error() const { return error_; }  // why an event was refused
  bool has_vocab() const { return has_vocab_; }
  bool has_merges() const { return has_merges_; }

  // The interface of nlohmann::json::sax_parse; false stops the parse.
  bool null() { return scalar(nullptr); }
  bool boolean(bool value) { return scalar(value); }
  bool number_integer(int64_t value) { return scalar(value); }
  bool number_unsigned(uint64_t value);
  bool number_float(double value, const std::string& text) { return scalar(value); }
  bool string(std::string& value);
  bool binary(Json::binary_t& value) { return fail("holds binary data"); }
  bool start_object(size_t size);
  bool key(std::string& value);
  bool end_object();
  bool start_array(size_t size);
  bool end_array();
  bool parse_error(size_t position, const std::string& token, const Json::exception& error);

 private:
  enum class Part { kDocument, kVocab, kMerges, kMergePair };

  bool fail(std::string why);
  bool scalar(Json value);
  bool open(Json value);
  bool close();
  bool in_model(std::string_view key) const {
    return stack_.size() == 2 && in_model_ && key_ == key;
  }
  Json* add(Json value);

  TokenizerFile& file_;
  Json root_;
  std::vector<Json*> stack_;  // open objects and arrays of the document
  std::string key_;           // last key read
  std::string error_;
  Part part_ = Part::kDocument;
  int pair_size_ = 0;
  bool in_model_ = false;
  bool has_vocab_ = false;
  bool has_merges_ = false;
};

}  // namespace intaglio
