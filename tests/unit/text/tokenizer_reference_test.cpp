// Ids computed by the published tokenizer library from the tiny checkpoint's tokenizer.json, and
// the cost of encoding.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "core/files.h"
#include "models/qwen3/chat.h"
#include "support/source_folder.h"
#include "text/bpe.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "unit/text/random_text.h"
#include "unit/text/tiny_tokenizer.h"

namespace intaglio::test {
namespace {

const std::filesystem::path kData =
    std::filesystem::path(test::source_path("tests/reference/data"));

class TokenizerReference : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Tokenizer::open(kData / "tiny/tokenizer/tokenizer.json");
    ASSERT_TRUE(opened) << opened.error().message;
    tokenizer_ = std::make_unique<Tokenizer>(std::move(*opened));
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(TokenizerReference, Ids) {
  const auto text = read_file(kData / "cases/tokenizer.json");
  ASSERT_TRUE(text) << text.error().message;
  const nlohmann::json cases = nlohmann::json::parse(*text);
  ASSERT_GE(cases.size(), 20u);
  for (const nlohmann::json& item : cases) {
    const auto input = item["text"].get<std::string>();
    const auto ids = tokenizer_->encode(input);
    ASSERT_TRUE(ids) << ids.error().message;
    EXPECT_EQ(*ids, item["ids"].get<std::vector<int32_t>>()) << input;
    EXPECT_EQ(tokenizer_->decode(*ids), to_nfc(input));
  }
}

TEST_F(TokenizerReference, VocabSize) { EXPECT_EQ(tokenizer_->vocab_size(), 1205); }

TEST_F(TokenizerReference, DecodeOfEncodeIsNfc) {
  std::mt19937 random(11);
  for (int i = 0; i < 5000; ++i) {
    const std::string text = random_text(random, 40);
    const auto ids = tokenizer_->encode(text);
    ASSERT_TRUE(ids) << ids.error().message;
    ASSERT_EQ(tokenizer_->decode(*ids), to_nfc(text)) << text;
  }
}

// The definition of BPE, one merge at a time over the whole word: slow and plain.
std::vector<int32_t> merged_by_definition(
    const std::map<std::pair<int, int>, std::pair<int, int>>& merges, std::vector<int32_t> ids) {
  for (;;) {
    size_t best = ids.size();
    int best_rank = std::numeric_limits<int>::max();
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const auto it = merges.find({ids[i], ids[i + 1]});
      if (it != merges.end() && it->second.first < best_rank) {
        best_rank = it->second.first;
        best = i;
      }
    }
    if (best == ids.size()) return ids;
    ids[best] = merges.at({ids[best], ids[best + 1]}).second;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
}

TEST(Bpe, AgreesWithItsDefinitionOnRandomMerges) {
  std::mt19937 random(3);
  const auto below = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(random);
  };
  for (int round = 0; round < 50; ++round) {
    std::vector<std::string> tokens{"a", "b", "c"};
    TokenizerFile file;
    std::map<std::string, int> ids;
    std::map<std::pair<int, int>, std::pair<int, int>> merges;
    const auto id_of = [&](const std::string& token) {
      const auto [it, inserted] = ids.emplace(token, static_cast<int>(ids.size()));
      if (inserted) {
        file.tokens.add(token);
        file.ids.push_back(it->second);
      }
      return it->second;
    };
    for (int byte = 0; byte < 256; ++byte) {
      const char c = static_cast<char>(byte);
      id_of(printable_from_bytes({&c, 1}));
    }
    for (int rank = 0; rank < 30; ++rank) {
      const std::string left = tokens[below(tokens.size())];
      const std::string right = tokens[below(tokens.size())];
      const std::pair<int, int> pair{id_of(left), id_of(right)};
      tokens.push_back(left + right);
      file.merges.add(left);
      file.merges.add(right);
      merges[pair] = {rank, id_of(left + right)};
    }
    const auto model = BpeModel::build(file, "random");
    ASSERT_TRUE(model) << model.error().message;
    BpeScratch scratch;
    for (int i = 0; i < 200; ++i) {
      std::string word;
      std::vector<int32_t> bytes;
      for (size_t n = below(40); n > 0; --n) {
        word += static_cast<char>('a' + below(3));
        bytes.push_back(ids.at(word.substr(word.size() - 1)));
      }
      std::vector<int32_t> found;
      model->encode_word(word, scratch, found);
      ASSERT_EQ(found, merged_by_definition(merges, bytes)) << word;
    }
  }
}

// A word of n bytes queues at most n - 1 pairs at first and two for each of at most n - 1 merges.
TEST(Bpe, LongWordsCostAFewStepsAByte) {
  std::vector<std::pair<std::string, std::string>> merges;
  for (std::string token = "a"; token.size() < 64; token += token)
    merges.emplace_back(token, token);
  TokenizerFile file;
  const auto parsed = read_tokenizer_file(tiny_tokenizer(merges).dump(), "tiny");
  ASSERT_TRUE(parsed) << parsed.error().message;
  const auto model = BpeModel::build(*parsed, "tiny");
  ASSERT_TRUE(model) << model.error().message;
  constexpr size_t kLetters = 100'003;
  BpeScratch scratch;
  std::vector<int32_t> ids;
  model->encode_word(std::string(kLetters, 'a'), scratch, ids);
  EXPECT_EQ(ids.size(), kLetters / 64 + 3) << "100003 = 1562 * 64 + 32 + 2 + 1";
  EXPECT_LE(scratch.steps, static_cast<int64_t>(3 * kLetters));
}

TEST_F(TokenizerReference, ChatForm) {
  EXPECT_EQ(qwen3::ChatForm().around("hi"),
            "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  const auto ids = qwen3::tokenize_prompt(*tokenizer_, {}, "hi");
  ASSERT_TRUE(ids) << ids.error().message;
  EXPECT_EQ(tokenizer_->decode(*ids), qwen3::ChatForm().around("hi"));
  EXPECT_EQ(ids->front(), 1203);
  EXPECT_EQ(std::count(ids->begin(), ids->end(), 1203), 2);
  EXPECT_EQ(std::count(ids->begin(), ids->end(), 1204), 1);
}

// Each digit is a token of its own, so the length can be set exactly.
TEST_F(TokenizerReference, PromptLimit) {
  const auto frame = qwen3::tokenize_prompt(*tokenizer_, {}, "");
  ASSERT_TRUE(frame);
  const size_t room = static_cast<size_t>(qwen3::kMaxPromptTokens) - frame->size();
  const auto longest = qwen3::tokenize_prompt(*tokenizer_, {}, std::string(room, '7'));
  ASSERT_TRUE(longest) << longest.error().message;
  EXPECT_EQ(longest->size(), 2048u);
  const auto refused = qwen3::tokenize_prompt(*tokenizer_, {}, std::string(room + 1, '7'));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(refused.error().message,
            "the prompt is 2049 tokens long in chat form; at most 2048 are allowed");
}

TEST_F(TokenizerReference, InvalidUtf8NamesTheOffsetInThePrompt) {
  for (const auto& ids :
       {qwen3::tokenize_prompt(*tokenizer_, {}, "a fox\xff!"), tokenizer_->encode("a fox\xff!")}) {
    ASSERT_FALSE(ids);
    EXPECT_EQ(ids.error().code, ErrorCode::kInvalidArgument);
    EXPECT_NE(ids.error().message.find("0xff at offset 5 of 7"), std::string::npos)
        << ids.error().message;
  }
}

TEST_F(TokenizerReference, LongestTextIsNamed) {
  const auto ids = tokenizer_->encode(std::string(kMaxTextBytes + 1, 'a'));
  ASSERT_FALSE(ids);
  EXPECT_EQ(ids.error().message, "the text has 16777217 bytes; at most 16777216 can be tokenized");
}

TEST_F(TokenizerReference, UnknownIdsAreErrors) {
  for (const int32_t id : {-1, 1205, std::numeric_limits<int32_t>::max()}) {
    const auto text = tokenizer_->decode({64, id});
    ASSERT_FALSE(text);
    EXPECT_NE(text.error().message.find(fmt::format("id {} at position 1", id)), std::string::npos)
        << text.error().message;
  }
}

}  // namespace
}  // namespace intaglio::test
