#include "text/tokenizer.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

#include "core/files.h"
#include "core/out_of_memory.h"
#include "io/printable.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/tokenizer_json.h"
#include "text/unicode.h"

namespace intaglio {

struct Tokenizer::Impl {
  BpeModel bpe;
  SplitPattern split;
  bool nfc = false;
  std::vector<AddedToken> added;
  AddedTokenFinder in_raw_text;         // values index `added`
  AddedTokenFinder in_normalized_text;  // likewise
  std::unordered_map<int32_t, size_t> added_by_id;
  int64_t vocab_size = 0;

  Status add_tokens(const std::string& name);
  void encode_raw(std::string_view text, BpeScratch& scratch, std::vector<int32_t>& ids) const;
  void encode_normalized(std::string_view text, BpeScratch& scratch,
                         std::vector<int32_t>& ids) const;
  void encode_words(std::string_view text, BpeScratch& scratch, std::vector<int32_t>& ids) const;
  template <typename EncodeText>
  void around_added(const AddedTokenFinder& finder, std::string_view text,
                    std::vector<int32_t>& ids, EncodeText&& encode_text) const;
};

namespace {

// Offset in [limit, end] where the white space before `end` begins.
size_t white_space_before(std::string_view text, size_t limit, size_t end) {
  while (end > limit) {
    size_t start = end - 1;
    while (start > limit && (static_cast<unsigned char>(text[start]) & 0xc0u) == 0x80u) --start;
    if (!is_white_space(char_class(decode_utf8(text, start).code_point))) break;
    end = start;
  }
  return end;
}

size_t white_space_after(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const DecodedChar c = decode_utf8(text, begin);
    if (c.length == 0 || !is_white_space(char_class(c.code_point))) break;
    begin += c.length;
  }
  return begin;
}

}  // namespace

Status Tokenizer::Impl::add_tokens(const std::string& name) {
  vocab_size = bpe.id_count();
  for (size_t i = 0; i < added.size(); ++i) {
    const AddedToken& token = added[i];
    // A token may also stand in the vocabulary; the two must agree.
    if (bpe.token_bytes(token.id) && bpe.token_as_written(token.id) != token.content) {
      return make_error(ErrorCode::kBadFormat,
                        "{}: added_tokens: \"{}\" has the id {}, which is \"{}\" in model.vocab",
                        name, printable(token.content), token.id,
                        printable(bpe.token_as_written(token.id)));
    }
    const auto [it, inserted] = added_by_id.emplace(token.id, i);
    if (!inserted && added[it->second].content != token.content) {
      return make_error(ErrorCode::kBadFormat,
                        "{}: added_tokens: \"{}\" and \"{}\" share the id {}", name,
                        printable(added[it->second].content), printable(token.content), token.id);
    }
    if (token.normalized) {
      in_normalized_text.add(nfc ? to_nfc(token.content) : token.content, i);
    } else {
      in_raw_text.add(token.content, i);
    }
    vocab_size = std::max<int64_t>(vocab_size, int64_t{token.id} + 1);
  }
  return {};
}

// Appends the ids of added tokens where the finder sees them and calls encode_text on what lies
// between.
template <typename EncodeText>
void Tokenizer::Impl::around_added(const AddedTokenFinder& finder, std::string_view text,
                                   std::vector<int32_t>& ids, EncodeText&& encode_text) const {
  size_t done = 0;
  while (!finder.empty() && done < text.size()) {
    const AddedTokenFinder::Match match = finder.find(text, done);
    if (match.begin == AddedTokenFinder::kNotFound) break;
    const AddedToken& token = added[match.value];
    const size_t begin = token.lstrip ? white_space_before(text, done, match.begin) : match.begin;
    if (begin > done) encode_text(text.substr(done, begin - done));
    ids.push_back(token.id);
    done = token.rstrip ? white_space_after(text, match.end) : match.end;
  }
  if (done < text.size()) encode_text(text.substr(done));
}

void Tokenizer::Impl::encode_raw(std::string_view text, BpeScratch& scratch,
                                 std::vector<int32_t>& ids) const {
  around_added(in_raw_text, text, ids, [&](std::string_view between) {
    if (nfc) {
      encode_normalized(to_nfc(between), scratch, ids);
    } else {
      encode_normalized(between, scratch, ids);
    }
  });
}

void Tokenizer::Impl::encode_normalized(std::string_view text, BpeScratch& scratch,
                                        std::vector<int32_t>& ids) const {
  around_added(in_normalized_text, text, ids,
               [&](std::string_view between) { encode_words(between, scratch, ids); });
}

void Tokenizer::Impl::encode_words(std::string_view text, BpeScratch& scratch,
                                   std::vector<int32_t>& ids) const {
  for (size_t offset = 0; offset < text.size();) {
    const size_t length = next_word_length(split, text, offset);
    bpe.encode_word(text.substr(offset, length), scratch, ids);
    offset += length;
  }
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Expected<Tokenizer> Tokenizer::open(const std::filesystem::path& tokenizer_json) {
  return guard_file_memory(tokenizer_json, "reading", [&]() -> Expected<Tokenizer> {
    INTAGLIO_ASSIGN(const std::string json, read_file(tokenizer_json, kMaxTokenizerBytes));
    return parse(json, tokenizer_json.string());
  });
}

Expected<Tokenizer> Tokenizer::parse(std::string_view json, const std::string& name) {
  INTAGLIO_ASSIGN(TokenizerFile file, read_tokenizer_file(json, name));
  auto impl = std::make_unique<Impl>();
  INTAGLIO_ASSIGN(impl->bpe, BpeModel::build(file, name));
  impl->split = file.split;
  impl->nfc = file.nfc;
  impl->added = std::move(file.added);
  INTAGLIO_TRY(impl->add_tokens(name));
  return Tokenizer(std::move(impl));
}

Expected<std::vector<int32_t>> Tokenizer::encode(std::string_view text) const {
  if (text.size() > kMaxTextBytes) {
    return make_error(ErrorCode::kInvalidArgument,
                      "the text has {} bytes; at most {} can be tokenized", text.size(),
                      kMaxTextBytes);
  }
  if (const auto offset = find_invalid_utf8(text)) {
    return make_error(
        ErrorCode::kInvalidArgument,
        "the text is not UTF-8: the byte 0x{:02x} at offset {} of {} starts no character",
        static_cast<unsigned char>(text[*offset]), *offset, text.size());
  }
  std::vector<int32_t> ids;
  BpeScratch scratch;
  impl_->encode_raw(text, scratch, ids);
  return ids;
}

Expected<std::string> Tokenizer::decode(const std::vector<int32_t>& ids) const {
  std::string text;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (const auto it = impl_->added_by_id.find(ids[i]); it != impl_->added_by_id.end()) {
      text += impl_->added[it->second].content;
    } else if (const auto bytes = impl_->bpe.token_bytes(ids[i])) {
      text += *bytes;
    } else {
      return make_error(ErrorCode::kInvalidArgument,
                        "id {} at position {} is no token; ids go up to {}", ids[i], i,
                        impl_->vocab_size - 1);
    }
  }
  return text;
}

int64_t Tokenizer::vocab_size() const { return impl_->vocab_size; }

}  // namespace intaglio
