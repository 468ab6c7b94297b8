#include "text/tokenizer_json.h"

#include <algorithm>
#include <optional>

#include "io/printable.h"
#include "text/tokenizer_sax.h"

namespace intaglio {
namespace {

using Json = nlohmann::json;

// Keeps a message readable when the file holds a novel where a word belongs.
std::string shown(const Json& value) {
  if (value.is_string()) {
    return fmt::format("\"{}\"", printable(value.get_ref<const std::string&>(), 300));
  }
  if (value.is_structured()) return fmt::format("an {}", value.type_name());
  return value.dump();
}

// The value of `key`, or null if `object` is no object or lacks it.
const Json& member(const Json& object, std::string_view key) {
  static const Json null;
  if (!object.is_object()) return null;
  const auto it = object.find(key);
  return it == object.end() ? null : *it;
}

bool is_text(const Json& value, std::string_view text) {
  return value.is_string() && value.get_ref<const std::string&>() == text;
}

// Reads one file; every check fails with the file's name and the key.
class Reader {
 public:
  Reader(const Json& document, const std::string& name, TokenizerFile& file)
      : document_(document), name_(name), file_(file) {}

  Status read() {
    INTAGLIO_TRY(read_model(member(document_, "model")));
    INTAGLIO_TRY(read_normalizer(member(document_, "normalizer"), "normalizer"));
    INTAGLIO_TRY(read_pre_tokenizer(member(document_, "pre_tokenizer")));
    return read_added_tokens(member(document_, "added_tokens"));
  }

 private:
  template <typename... Args>
  tl::unexpected<Error> bad(fmt::format_string<Args...> format, Args&&... args) const {
    return make_error(ErrorCode::kBadFormat, "{}: {}", name_,
                      fmt::format(format, std::forward<Args>(args)...));
  }
  template <typename... Args>
  tl::unexpected<Error> unsupported(fmt::format_string<Args...> format, Args&&... args) const {
    return make_error(ErrorCode::kUnsupported, "{}: {}", name_,
                      fmt::format(format, std::forward<Args>(args)...));
  }

  Expected<bool> boolean_or(const Json& object, std::string_view where, std::string_view key,
                            bool fallback) const {
    const Json& value = member(object, key);
    if (value.is_null()) return fallback;
    if (!value.is_boolean())
      return bad("{}.{} is {}, expected true or false", where, key, shown(value));
    return value.get<bool>();
  }

  Status read_model(const Json& model) {
    if (!model.is_object()) return bad("model is {}, expected an object", shown(model));
    const Json& type = member(model, "type");
    if (!type.is_null() && !is_text(type, "BPE"))
      return unsupported("model.type is {}; only \"BPE\" is supported", shown(type));
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const Json& value = member(model, key);
      if (!value.is_null() && !is_text(value, ""))
        return unsupported("model.{} is {}; only none is supported", key, shown(value));
    }
    const Json& dropout = member(model, "dropout");
    if (!dropout.is_null() && dropout != 0)
      return unsupported("model.dropout is {}; only none is supported", shown(dropout));
    INTAGLIO_ASSIGN(const bool byte_fallback, boolean_or(model, "model", "byte_fallback", false));
    if (byte_fallback)
      return unsupported("model.byte_fallback is true; only byte-level BPE is supported");
    INTAGLIO_ASSIGN(file_.ignore_merges, boolean_or(model, "model", "ignore_merges", false));
    return {};
  }

  Status read_normalizer(const Json& normalizer, const std::string& where) {
    if (normalizer.is_null()) return {};
    const Json& type = member(normalizer, "type");
    if (is_text(type, "NFC")) {
      file_.nfc = true;
      return {};
    }
    const Json& parts = member(normalizer, "normalizers");
    if (!is_text(type, "Sequence") || !parts.is_array()) {
      return unsupported("{}.type is {}; only \"NFC\" or none is supported", where, shown(type));
    }
    for (size_t i = 0; i < parts.size(); ++i) {
      INTAGLIO_TRY(read_normalizer(parts[i], fmt::format("{}.normalizers[{}]", where, i)));
    }
    return {};
  }

  Status read_pre_tokenizer(const Json& pre_tokenizer) {
    const Json& parts = member(pre_tokenizer, "pretokenizers");
    if (!is_text(member(pre_tokenizer, "type"), "Sequence") || !parts.is_array() ||
        parts.size() != 2) {
      return unsupported(
          "pre_tokenizer is {}; only a Sequence of a Split and a ByteLevel is supported",
          shown(member(pre_tokenizer, "type")));
    }
    INTAGLIO_TRY(read_split(parts[0], "pre_tokenizer.pretokenizers[0]"));
    return read_byte_level(parts[1], "pre_tokenizer.pretokenizers[1]");
  }

  Status read_split(const Json& split, std::string_view where) {
    if (!is_text(member(split, "type"), "Split")) {
      return unsupported("{}.type is {}; only \"Split\" is supported there", where,
                         shown(member(split, "type")));
    }
    const Json& regex = member(member(split, "pattern"), "Regex");
    if (!regex.is_string())
      return unsupported("{}.pattern.Regex is {}, expected a string", where, shown(regex));
    const std::optional<SplitPattern> pattern =
        split_pattern_from_regex(regex.get_ref<const std::string&>());
    if (!pattern) {
      return unsupported(
          "{}.pattern.Regex is {}, which is not one of the known split patterns (Qwen 2 to 3.5, "
          "GPT-4, Llama 3)",
          where, shown(regex));
    }
    file_.split = *pattern;
    // The known patterns match every character, so keeping the matches apart and dropping what lies
    // between is the same.
    INTAGLIO_ASSIGN(const bool invert, boolean_or(split, where, "invert", false));
    const Json& behavior = member(split, "behavior");
    if (!is_text(behavior, invert ? "Removed" : "Isolated")) {
      return unsupported(
          "{}.behavior is {} with invert {}; only \"Isolated\" with false and \"Removed\" with "
          "true are supported",
          where, shown(behavior), invert);
    }
    return {};
  }

  Status read_byte_level(const Json& byte_level, std::string_view where) {
    if (!is_text(member(byte_level, "type"), "ByteLevel")) {
      return unsupported("{}.type is {}; only \"ByteLevel\" is supported there", where,
                         shown(member(byte_level, "type")));
    }
    // Both are on when the file does not say.
    for (const char* key : {"add_prefix_space", "use_regex"}) {
      INTAGLIO_ASSIGN(const bool value, boolean_or(byte_level, where, key, true));
      if (value) return unsupported("{}.{} is true; only false is supported", where, key);
    }
    return {};
  }

  Status read_added_tokens(const Json& tokens) {
    if (tokens.is_null()) return {};
    if (!tokens.is_array()) return bad("added_tokens is {}, expected an array", shown(tokens));
    file_.added.reserve(tokens.size());
    for (size_t i = 0; i < tokens.size(); ++i) {
      INTAGLIO_TRY(read_added_token(tokens[i], fmt::format("added_tokens[{}]", i)));
    }
    return {};
  }

  Status read_added_token(const Json& json, const std::string& where) {
    if (!json.is_object()) return bad("{} is {}, expected an object", where, shown(json));
    AddedToken token;
    const Json& content = member(json, "content");
    if (!content.is_string())
      return bad("{}.content is {}, expected a string", where, shown(content));
    token.content = content.get<std::string>();
    if (token.content.empty() || token.content.size() > kMaxAddedTokenBytes) {
      return bad("{}.content has {} bytes, expected 1 to {}", where, token.content.size(),
                 kMaxAddedTokenBytes);
    }
    added_bytes_ += token.content.size();
    if (added_bytes_ > kMaxAddedBytes) {
      return bad("added_tokens hold more than {} bytes of content up to {}", kMaxAddedBytes, where);
    }
    const Json& id = member(json, "id");
    if (!id.is_number_unsigned() || id.get<uint64_t>() > static_cast<uint64_t>(kMaxTokenId)) {
      return bad("{}.id is {}, expected a whole number of at most {}", where, shown(id),
                 kMaxTokenId);
    }
    token.id = static_cast<int32_t>(id.get<uint64_t>());
    INTAGLIO_ASSIGN(const bool single_word, boolean_or(json, where, "single_word", false));
    if (single_word)
      return unsupported("{} (\"{}\") has single_word; only false is supported", where,
                         printable(token.content));
    INTAGLIO_ASSIGN(const bool special, boolean_or(json, where, "special", false));
    INTAGLIO_ASSIGN(token.lstrip, boolean_or(json, where, "lstrip", false));
    INTAGLIO_ASSIGN(token.rstrip, boolean_or(json, where, "rstrip", false));
    INTAGLIO_ASSIGN(token.normalized, boolean_or(json, where, "normalized", !special));
    file_.added.push_back(std::move(token));
    return {};
  }

  const Json& document_;
  const std::string& name_;
  TokenizerFile& file_;
  size_t added_bytes_ = 0;
};

}  // namespace

Expected<TokenizerFile> read_tokenizer_file(std::string_view json, const std::string& name) {
  if (json.size() > kMaxTokenizerBytes) {
    return make_error(ErrorCode::kBadFormat, "{}: {} bytes; a tokenizer of more than {} is refused",
                      name, json.size(), kMaxTokenizerBytes);
  }
  TokenizerFile file;
  TokenizerSax handler(file);
  if (!Json::sax_parse(json.begin(), json.end(), &handler)) {
    return make_error(ErrorCode::kBadFormat, "{}: {}", name, handler.error());
  }
  INTAGLIO_TRY(Reader(handler.document(), name, file).read());
  if (!handler.has_vocab())
    return make_error(ErrorCode::kBadFormat, "{}: model.vocab is missing or not an object", name);
  if (!handler.has_merges())
    return make_error(ErrorCode::kBadFormat, "{}: model.merges is missing or not an array", name);
  return file;
}

}  // namespace intaglio
