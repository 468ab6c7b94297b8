#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "unit/text/tiny_tokenizer.h"

namespace intaglio::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Json = nlohmann::json;

Expected<Tokenizer> parse(const Json& json) { return Tokenizer::parse(json.dump(), "file.json"); }

std::vector<int32_t> encode(const Json& json, std::string_view text) {
  const auto tokenizer = parse(json);
  if (!tokenizer) {
    ADD_FAILURE() << tokenizer.error().message;
    return {};
  }
  return tokenizer->encode(text).value_or(std::vector<int32_t>{-1});
}

// Expects a refusal of `text` with `code` whose message names the file and holds `part`.
void expect_refused(const std::string& text, ErrorCode code, const std::string& part) {
  const auto tokenizer = Tokenizer::parse(text, "file.json");
  ASSERT_FALSE(tokenizer) << part;
  EXPECT_EQ(tokenizer.error().code, code) << tokenizer.error().message;
  EXPECT_THAT(tokenizer.error().message, testing::StartsWith("file.json: "));
  EXPECT_THAT(tokenizer.error().message, HasSubstr(part));
}

void expect_refused(const std::function<void(Json&)>& change, ErrorCode code,
                    const std::string& part) {
  Json json = tiny_tokenizer({{"a", "b"}});
  change(json);
  expect_refused(json.dump(), code, part);
}

TEST(Tokenizer, MergesByRankThenLeftmost) {
  const Json json = tiny_tokenizer({{"b", "c"}, {"a", "b"}, {"a", "a"}});
  EXPECT_THAT(encode(json, "abc"), ElementsAre('a', 256)) << "bc has the lower rank";
  EXPECT_THAT(encode(json, "abab"), ElementsAre(257, 257));
  EXPECT_THAT(encode(json, "aaa"), ElementsAre(258, 'a'));
}

TEST(Tokenizer, MergesMayBePairs) {
  Json json = tiny_tokenizer({{"a", "b"}});
  json["model"]["merges"] = Json::array({Json::array({"a", "b"})});
  EXPECT_THAT(encode(json, "ab"), ElementsAre(256));
}

TEST(Tokenizer, MergesMayComeBeforeTheVocabulary) {
  const std::string model = tiny_tokenizer({{"a", "b"}})["model"]["vocab"].dump();
  Json rest = tiny_tokenizer();
  rest.erase("model");
  std::string text = rest.dump();
  text.pop_back();
  text += R"(,"model":{"type":"BPE","merges":["a b"],"vocab":)" + model + "}}";
  const auto tokenizer = Tokenizer::parse(text, "file.json");
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_THAT(tokenizer->encode("ab").value(), ElementsAre(256));
}

TEST(Tokenizer, WordsAreMergedOnTheirOwn) {
  const Json json = tiny_tokenizer({{"\u0120", "a"}, {"a", "\u0120"}});
  EXPECT_THAT(encode(json, "a a"), ElementsAre('a', 256)) << "\"a \" is no word";
}

TEST(Tokenizer, IgnoreMergesTakesWholeWords) {
  Json json = tiny_tokenizer({{"b", "c"}});
  json["model"]["vocab"]["abc"] = 300;
  EXPECT_THAT(encode(json, "abc"), ElementsAre('a', 256));
  json["model"]["ignore_merges"] = true;
  EXPECT_THAT(encode(json, "abc"), ElementsAre(300));
  EXPECT_THAT(encode(json, "abcbc"), ElementsAre('a', 256, 256));
  EXPECT_THAT(encode(json, "xbc"), ElementsAre('x', 256));
}

TEST(Tokenizer, NormalizerMayBeAbsentOrASequence) {
  Json json = tiny_tokenizer();
  const std::vector<int32_t> composed{0xc3, 0xa9};
  EXPECT_EQ(encode(json, "e\u0301"), composed);
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
  EXPECT_EQ(encode(json, "e\u0301"), composed);
  json["normalizer"] = nullptr;
  EXPECT_THAT(encode(json, "e\u0301"), ElementsAre('e', 0xcc, 0x81));
}

TEST(Tokenizer, SplitMayRemoveWhatLiesBetweenMatches) {
  Json json = tiny_tokenizer({{"a", "b"}});
  Json& split = json["pre_tokenizer"]["pretokenizers"][0];
  split["behavior"] = "Removed";
  split["invert"] = true;
  EXPECT_THAT(encode(json, "ab !"), ElementsAre(256, ' ', '!'));
}

TEST(AddedTokens, LeftmostThenLongest) {
  Json json = tiny_tokenizer();
  json["added_tokens"] = Json::array({added_token(300, "<a>"), added_token(301, "<a><b>"),
                                      added_token(302, "b><"), added_token(303, "<a><b><c")});
  EXPECT_THAT(encode(json, "<a><b>x<a>"), ElementsAre(301, 'x', 300));
  EXPECT_THAT(encode(json, "<a><b><c"), ElementsAre(303));
  EXPECT_THAT(encode(json, "<a><b><d"), ElementsAre(301, '<', 'd'));
  EXPECT_THAT(encode(json, "b><a>"), ElementsAre(302, 'a', '>'));
  EXPECT_THAT(encode(json, "<a"), ElementsAre('<', 'a'));
}

TEST(AddedTokens, EndAWord) {
  Json json = tiny_tokenizer({{"a", "b"}});
  json["added_tokens"] = Json::array({added_token(300, "|")});
  EXPECT_THAT(encode(json, "a|b"), ElementsAre('a', 300, 'b'));
  EXPECT_THAT(encode(json, "x  |y"), ElementsAre('x', ' ', ' ', 300, 'y'));
}

TEST(AddedTokens, StripTakesWhiteSpace) {
  Json json = tiny_tokenizer();
  json["added_tokens"] = Json::array({added_token(300, "|"), added_token(301, "#")});
  json["added_tokens"][0]["lstrip"] = true;
  json["added_tokens"][1]["rstrip"] = true;
  EXPECT_THAT(encode(json, "a \n\u3000| b"), ElementsAre('a', 300, ' ', 'b'));
  EXPECT_THAT(encode(json, "a #\t\u00a0b"), ElementsAre('a', ' ', 301, 'b'));
  EXPECT_THAT(encode(json, "# |"), ElementsAre(301, 300)) << "the space is taken once";
  EXPECT_THAT(encode(json, "  |"), ElementsAre(300));
  EXPECT_THAT(encode(json, "#  "), ElementsAre(301));
}

TEST(AddedTokens, NormalizedOnesAreSoughtAfterNfc) {
  Json json = tiny_tokenizer();
  json["added_tokens"] = Json::array({added_token(300, "\u00e9"), added_token(301, "|")});
  EXPECT_THAT(encode(json, "e\u0301"), ElementsAre(0xc3, 0xa9));
  EXPECT_THAT(encode(json, "\u00e9"), ElementsAre(300));
  json["added_tokens"][0]["normalized"] = true;
  EXPECT_THAT(encode(json, "e\u0301|e|\u0301"), ElementsAre(300, 301, 'e', 301, 0xcc, 0x81));
  json["added_tokens"][0]["content"] = "e\u0301";
  EXPECT_THAT(encode(json, "\u00e9"), ElementsAre(300)) << "the content is normalized too";
}

TEST(AddedTokens, DecodeToTheirContent) {
  Json json = tiny_tokenizer();
  json["added_tokens"] = Json::array({added_token(300, "<\u65e5 >")});
  json["model"]["vocab"]["<\u65e5 >"] = 300;
  const auto tokenizer = parse(json);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->decode({'a', 300, ' '}), "a<\u65e5 > ");
  EXPECT_EQ(tokenizer->vocab_size(), 301);
  EXPECT_FALSE(tokenizer->decode({299})) << "a gap in the ids";
}

TEST(TokenizerFile, UnsupportedPartsAreNamed) {
  const auto refused = [](const std::function<void(Json&)>& change, const std::string& part) {
    expect_refused(change, ErrorCode::kUnsupported, part);
  };
  refused([](Json& j) { j["model"]["type"] = "Unigram"; }, "model.type is \"Unigram\"");
  refused([](Json& j) { j["model"]["byte_fallback"] = true; }, "model.byte_fallback");
  refused([](Json& j) { j["model"]["dropout"] = 0.1; }, "model.dropout is 0.1");
  refused([](Json& j) { j["model"]["continuing_subword_prefix"] = "##"; },
          "model.continuing_subword_prefix is \"##\"");
  refused([](Json& j) { j["normalizer"]["type"] = "NFKC"; }, "normalizer.type is \"NFKC\"");
  refused(
      [](Json& j) {
        j["normalizer"] = {{"type", "Sequence"},
                           {"normalizers", {{{"type", "NFC"}}, {{"type", "Lowercase"}}}}};
      },
      "normalizer.normalizers[1].type is \"Lowercase\"");
  refused(
      [](Json& j) {
        j["pre_tokenizer"] = {{"type", "Whitespace"}};
      },
      "pre_tokenizer is \"Whitespace\"");
  refused([](Json& j) { j.erase("pre_tokenizer"); }, "pre_tokenizer is null");
  refused([](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "\\w+"; },
          "pretokenizers[0].pattern.Regex is \"\\w+\", which is not one of the known");
  refused(
      [](Json& j) {
        j["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"String", " "}};
      },
      "pattern.Regex is null");
  refused([](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "MergedWithNext"; },
          "behavior is \"MergedWithNext\"");
  refused([](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["invert"] = true; },
          "behavior is \"Isolated\" with invert true");
  refused([](Json& j) { j["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true; },
          "add_prefix_space is true");
  refused([](Json& j) { j["pre_tokenizer"]["pretokenizers"][1].erase("use_regex"); },
          "use_regex is true");
  refused(
      [](Json& j) {
        j["added_tokens"] = Json::array({added_token(300, "|")});
        j["added_tokens"][0]["single_word"] = true;
      },
      "added_tokens[0] (\"|\") has single_word");
}

TEST(TokenizerFile, BrokenPartsAreNamed) {
  const auto refused = [](const std::function<void(Json&)>& change, const std::string& part) {
    expect_refused(change, ErrorCode::kBadFormat, part);
  };
  refused([](Json& j) { j.erase("model"); }, "model is null, expected an object");
  refused([](Json& j) { j["model"].erase("vocab"); }, "model.vocab is missing");
  refused([](Json& j) { j["model"]["vocab"] = Json::array(); },
          "model.vocab is missing or not an object");
  refused([](Json& j) { j["model"].erase("merges"); }, "model.merges is missing");
  refused([](Json& j) { j["model"]["vocab"]["a"] = -1; }, "the id of \"a\" is not a whole number");
  refused([](Json& j) { j["model"]["vocab"]["a"] = Json::array({1}); },
          "the id of \"a\" is not a whole number");
  refused([](Json& j) { j["model"]["vocab"]["a"] = 4194304; },
          "\"a\" has the id 4194304; the largest allowed is 4194303");
  refused([](Json& j) { j["model"]["vocab"]["a"] = 98; }, "share the id 98");
  refused([](Json& j) { j["model"]["vocab"].erase("\u0120"); }, "no token for the byte 0x20");
  refused([](Json& j) { j["model"]["merges"] = Json::array({"a"}); }, "entry 0 is \"a\"");
  refused(
      [](Json& j) {
        j["model"]["merges"] = Json::array({"a b", "a b c"});
      },
      "entry 1 is \"a b c\"");
  refused(
      [](Json& j) {
        j["model"]["merges"] = Json::array({"a b", Json::array({"a"})});
      },
      "entry 1 has 1 tokens");
  refused(
      [](Json& j) {
        j["model"]["merges"] = Json::array({Json::array({"a", "b", "c"})});
      },
      "entry 0 has more than two");
  refused(
      [](Json& j) {
        j["model"]["merges"] = Json::array({Json::array({"a", Json::array()})});
      },
      "model.merges: entry 0 is neither");
  refused([](Json& j) { j["model"]["merges"] = Json::array({7}); },
          "model.merges: entry 0 is neither");
  refused(
      [](Json& j) {
        j["model"]["merges"] = Json::array({"a b", "b a"});
      },
      "entry 1 (\"b\" \"a\") needs the token \"ba\", which is not in");
  refused([](Json& j) { j["model"]["merges"] = Json::array({"a \u65e5"}); },
          "which is not in the byte alphabet");
  refused([](Json& j) { j["model"]["merges"] = Json::array({" a"}); }, "needs the token \"\"");
  refused([](Json& j) { j["model"]["ignore_merges"] = 1; },
          "model.ignore_merges is 1, expected true or false");
  refused([](Json& j) { j["added_tokens"] = 3; }, "added_tokens is 3, expected an array");
  refused([](Json& j) { j["added_tokens"] = Json::array({3}); }, "added_tokens[0] is 3");
  refused([](Json& j) { j["added_tokens"] = Json::array({added_token(300, "")}); },
          "content has 0 bytes, expected 1 to 512");
  refused(
      [](Json& j) { j["added_tokens"] = Json::array({added_token(300, std::string(513, 'x'))}); },
      "content has 513 bytes");
  refused([](Json& j) { j["added_tokens"] = Json::array({added_token(-3, "|")}); },
          "added_tokens[0].id is -3");
  refused([](Json& j) { j["added_tokens"] = Json::array({added_token(97, "|")}); },
          "\"|\" has the id 97, which is \"a\" in model.vocab");
  refused(
      [](Json& j) {
        j["added_tokens"] = Json::array({added_token(300, "|"), added_token(300, "#")});
      },
      "share the id 300");
}

TEST(TokenizerFile, BrokenJsonIsRefused) {
  const auto refused = [](const std::string& text, const std::string& part) {
    expect_refused(text, ErrorCode::kBadFormat, part);
  };
  refused("", "not JSON");
  refused("null", "model is null");
  refused("[]", "model is null");
  refused("{\"model\": \xff}", "not JSON");
  refused("{\"a\": 1e999}", "not JSON");
  refused(tiny_tokenizer().dump() + "x", "not JSON");
  refused(R"({"model":{}, "model":{}})", "the key \"model\" comes twice");
}

TEST(TokenizerFile, AVocabularyMayNotRepeatAToken) {
  std::string text = tiny_tokenizer().dump();
  const size_t at = text.find("\"a\":97");
  ASSERT_NE(at, std::string::npos);
  text.insert(at, "\"a\":300,");
  expect_refused(text, ErrorCode::kBadFormat, "\"a\" comes twice");
}

// Deep enough to overflow the stack of a parser that recurses.
TEST(TokenizerFile, DeepNestingIsRefused) {
  constexpr size_t kDepth = 1'000'000;
  expect_refused(std::string(kDepth, '['), ErrorCode::kBadFormat, "nested deeper than 64");
  std::string objects;
  for (size_t i = 0; i < kDepth; ++i) objects += "{\"a\":";
  expect_refused(objects, ErrorCode::kBadFormat, "nested deeper than 64");
}

TEST(TokenizerFile, EveryTruncationIsRefused) {
  Json json = tiny_tokenizer({{"a", "b"}});
  json["added_tokens"] = Json::array({added_token(300, "<|x|>")});
  const std::string text = json.dump();
  ASSERT_TRUE(Tokenizer::parse(text, "file.json"));
  for (size_t size = 0; size < text.size(); ++size) {
    ASSERT_FALSE(Tokenizer::parse(std::string_view(text).substr(0, size), "file.json")) << size;
  }
}

TEST(TokenizerFile, AddedTokensAreLimitedTogether) {
  Json json = tiny_tokenizer();
  constexpr int kFits = (4 << 20) / 512;
  for (int i = 0; i < kFits; ++i) {
    std::string content = std::to_string(i);
    content.resize(512, 'x');
    json["added_tokens"].push_back(added_token(300 + i, content));
  }
  EXPECT_TRUE(parse(json));
  json["added_tokens"].push_back(added_token(300 + kFits, "|"));
  expect_refused(json.dump(), ErrorCode::kBadFormat,
                 "more than 4194304 bytes of content up to added_tokens[8192]");
}

TEST(TokenizerFile, MissingFileIsAnError) {
  const auto tokenizer = Tokenizer::open("/nonexistent/tokenizer.json");
  ASSERT_FALSE(tokenizer);
  EXPECT_THAT(tokenizer.error().message, HasSubstr("/nonexistent/tokenizer.json"));
}

}  // namespace
}  // namespace intaglio::test
