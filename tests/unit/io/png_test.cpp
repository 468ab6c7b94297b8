#include "io/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "io/json_config.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

using ::testing::HasSubstr;

RgbImage noise(int64_t width, int64_t height) {
  RgbImage image{width, height, {}};
  std::mt19937 random(7);
  image.pixels.resize(static_cast<size_t>(width * height * 3));
  for (uint8_t& value : image.pixels) value = static_cast<uint8_t>(random());
  return image;
}

std::string chunk(const std::string& type, const std::string& body) {
  std::string checked = type + body;
  uint32_t crc = 0xffffffffu;
  for (const char c : checked) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xedb88320u : 0u);
  }
  crc = ~crc;
  const auto big_endian = [](uint32_t value) {
    return std::string{static_cast<char>(value >> 24), static_cast<char>(value >> 16),
                       static_cast<char>(value >> 8), static_cast<char>(value)};
  };
  return big_endian(static_cast<uint32_t>(body.size())) + checked + big_endian(crc);
}

std::string header_chunk(uint32_t width, uint32_t height) {
  std::string body;
  for (const uint32_t value : {width, height}) {
    for (int shift = 24; shift >= 0; shift -= 8) body += static_cast<char>(value >> shift);
  }
  return chunk("IHDR", body + std::string("\x08\x02\0\0\0", 5));
}

TEST(Png, KeepsPixelsAndText) {
  const TempFolder folder;
  for (const auto& [width, height] : {std::pair<int64_t, int64_t>{1, 1}, {17, 5}, {64, 33}}) {
    const RgbImage image = noise(width, height);
    const PngText text = {{"prompt", "caf\u00e9 \"x\"\nline"},
                          {"parameters", "\u732b \U0001f408"},
                          {"empty", ""},
                          {"long", std::string(100000, 'p')}};
    ASSERT_TRUE(write_png(folder / "p.png", image, text));
    const auto read = read_png(folder / "p.png");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->first.width, width);
    EXPECT_EQ(read->first.height, height);
    EXPECT_EQ(read->first.pixels, image.pixels);
    EXPECT_EQ(read->second, text);
    EXPECT_EQ(folder.entries(), 1u);
  }
}

TEST(Png, PutsLatin1InPlainTextChunks) {
  const auto encoded = encode_png(noise(2, 2), {{"plain", "caf\u00e9"}, {"wide", "\u732b"}});
  ASSERT_TRUE(encoded);
  const std::string bytes(encoded->begin(), encoded->end());
  EXPECT_THAT(bytes, HasSubstr(std::string("tEXtplain\0caf\xe9", 14)));
  EXPECT_THAT(bytes, HasSubstr(std::string("iTXtwide\0", 9)));
}

TEST(Png, RefusesBadPicturesAndText) {
  EXPECT_EQ(encode_png({0, 1, {}}, {}).error().code, ErrorCode::kInvalidArgument);
  EXPECT_FALSE(encode_png({1, 1, {1, 2}}, {}));
  EXPECT_FALSE(encode_png({int64_t{1} << 40, int64_t{1} << 40, {}}, {}));
  EXPECT_FALSE(encode_png({-1, -1, {1, 2, 3}}, {}));
  const RgbImage image = noise(1, 1);
  EXPECT_TRUE(encode_png(image, {{std::string(79, 'k'), ""}}));
  for (const std::string& key :
       {std::string(), std::string(80, 'k'), std::string(" k"), std::string("k "),
        std::string("a\nb"), std::string("\u732b"), std::string("a  b"), std::string("a\0b", 3)}) {
    EXPECT_FALSE(encode_png(image, {{key, "x"}})) << key;
  }
  for (const std::string& text :
       {std::string("\xff"), std::string("a\0b", 3), std::string("\xed\xa0\x80"),
        std::string("\xc0\x80"), std::string("\xe7\x8c")}) {
    EXPECT_FALSE(encode_png(image, {{"k", text}})) << text;
  }
}

TEST(Png, ReadRefusesDamage) {
  const TempFolder folder;
  EXPECT_EQ(read_png(folder / "none.png").error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(read_png(folder.write("empty.png", "")));
  EXPECT_FALSE(read_png(folder.write("text.png", "hello, this is no picture")));
  const auto encoded = encode_png(noise(16, 16), {{"k", "v"}});
  const std::string good(encoded->begin(), encoded->end());
  for (size_t length = 0; length < good.size(); length += 7) {
    EXPECT_FALSE(read_png(folder.write("cut.png", good.substr(0, length)))) << length;
  }
  std::mt19937 random(3);
  for (int i = 0; i < 500; ++i) {  // must not crash; some damage is harmless
    std::string bytes = good;
    bytes[8 + random() % (bytes.size() - 8)] = static_cast<char>(random());
    const auto read = read_png(folder.write("bad.png", bytes));
    if (read) {
      EXPECT_EQ(read->first.pixels.size() % 3, 0u);
    }
  }
}

// A header that claims far more than the file holds must not take the memory.
TEST(Png, ReadRefusesPicturesLargerThanTheirBytes) {
  const TempFolder folder;
  const std::string signature("\x89PNG\r\n\x1a\n", 8);
  for (const auto& [width, height] : {std::pair<uint32_t, uint32_t>{16384, 16384},
                                      {0x7fffffff, 0x7fffffff},
                                      {1, 0x10000001},
                                      {0, 1}}) {
    const auto path = folder.write("claim.png", signature + header_chunk(width, height) +
                                                    chunk("IDAT", "x") + chunk("IEND", ""));
    const auto read = read_png(path);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, ErrorCode::kBadFormat);
  }
}

}  // namespace
}  // namespace intaglio
