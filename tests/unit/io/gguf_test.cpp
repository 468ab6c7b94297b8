#include "io/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "io/formats/ggml_blocks.h"
#include "support/source_folder.h"
#include "support/temp_folder.h"
#include "unit/io/gguf_bytes.h"

namespace intaglio {
namespace {

using test::GgufBytes;
using ::testing::HasSubstr;

constexpr uint32_t kF32 = 0, kF16 = 1, kQ8 = 8, kI8 = 24, kI64 = 27, kBF16 = 30;
// Types of keys.
constexpr uint32_t kU8Key = 0, kU32Key = 4, kI32Key = 5, kF32Key = 6, kBoolKey = 7, kTextKey = 8,
                   kArrayKey = 9, kF64Key = 12;

// One F32 tensor "a" of 2 x 4 whose elements are 0 .. 7.
GgufBytes one_tensor() {
  GgufBytes file(1);
  file.tensor("a", {4, 2}, kF32, 0).pad();
  for (int i = 0; i < 8; ++i) file.add(static_cast<float>(i));
  return file;
}

TEST(Gguf, ReadsTensorsWithTheirSizesReversed) {
  for (const uint32_t version : {2u, 3u}) {
    GgufBytes bytes(4, 0, version);
    bytes.tensor("b", {32, 3}, kQ8, 32).tensor("a", {2}, kF32, 0).tensor("s", {}, kI64, 160);
    bytes.tensor("h", {2, 1, 3, 4}, kBF16, 192).pad();
    bytes.add(1.5f).add(-2.0f).pad().zeros(102).pad().add(int64_t{-7}).pad().zeros(48);
    const auto file = bytes.parse();
    ASSERT_TRUE(file) << file.error().message;
    ASSERT_EQ((*file)->tensors().size(), 4u);
    EXPECT_EQ((*file)->tensors()[0].name, "a");
    EXPECT_EQ(*read_floats(*(*file)->find("a")), (std::vector<float>{1.5f, -2.0f}));
    EXPECT_EQ((*file)->find("s")->view.shape, Shape{});
    EXPECT_EQ(*(*file)->find("s")->view.as<int64_t>(), -7);
    EXPECT_EQ((*file)->find("h")->view.shape, (Shape{4, 3, 1, 2}));
    EXPECT_EQ((*file)->find("c"), nullptr);
    const TensorEntry& packed = *(*file)->find("b");
    EXPECT_EQ(packed.foreign, "Q8_0 [3, 32]");
    EXPECT_EQ(packed.view.size_bytes(), 102u);
    ASSERT_TRUE(packed.blocks);
    EXPECT_EQ(packed.blocks->type->id, kQ8);
    EXPECT_EQ(packed.shape(), (Shape{3, 32}));
  }
}

TEST(Gguf, AFileIsReadLikeItsBytes) {
  const TempFolder folder;
  folder.write("x.gguf", one_tensor().bytes());
  const auto file = GgufFile::open(folder / "x.gguf");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ((*file)->path(), folder / "x.gguf");
  EXPECT_EQ(*read_floats(*(*file)->find("a")), (std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(GgufFile::open(folder / "gone.gguf").error().code, ErrorCode::kNotFound);
}

// Keys of every type; what is longer than the window that is read at once, too.
TEST(Gguf, KeysAreReadOrPassedOver) {
  GgufBytes bytes(1, 16);
  bytes.key("u8", 0).add(uint8_t{250}).key("i8", 1).add(int8_t{-3});
  bytes.key("u16", 2).add(uint16_t{65000}).key("i16", 3).add(int16_t{-300});
  bytes.key("u32", 4).add(uint32_t{4000000000}).key("i32", 5).add(int32_t{-70000});
  bytes.key("f32", kF32Key).add(0.5f).key("bool", kBoolKey).add(uint8_t{1});
  bytes.key("text", kTextKey).text("ideogram4").key("u64", 10).add(uint64_t{1} << 63);
  bytes.key("i64", 11).add(int64_t{-1}).key("f64", kF64Key).add(0.25);
  bytes.key("long", kTextKey).text(std::string(200'000, 'x'));
  bytes.key("numbers", kArrayKey).add(kF32Key).add(uint64_t{50'000}).zeros(200'000);
  bytes.key("texts", kArrayKey).add(kTextKey).add(uint64_t{2}).text("a").text("bc");
  bytes.key("general.alignment", kU32Key).add(uint32_t{64});
  bytes.tensor("a", {1}, kF32, 0).pad(64).add(7.0f);
  const TempFolder folder;
  folder.write("x.gguf", bytes.bytes());
  for (const auto& file : {bytes.parse(), GgufFile::open(folder / "x.gguf")}) {
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ((*file)->metadata(),
              (std::map<std::string, std::string>{{"u8", "250"},
                                                  {"i8", "-3"},
                                                  {"u16", "65000"},
                                                  {"i16", "-300"},
                                                  {"u32", "4000000000"},
                                                  {"i32", "-70000"},
                                                  {"f32", "0.5"},
                                                  {"bool", "true"},
                                                  {"text", "ideogram4"},
                                                  {"u64", "9223372036854775808"},
                                                  {"i64", "-1"},
                                                  {"f64", "0.25"},
                                                  {"general.alignment", "64"}}));
    EXPECT_EQ(*read_floats(*(*file)->find("a")), std::vector<float>{7.0f});
  }
}

TEST(Gguf, ShapesThatWereFoldedComeBack) {
  const auto folded = [](std::vector<int32_t> sizes) {
    GgufBytes bytes(2, 1);
    bytes.key("comfy.gguf.orig_shape.q", kArrayKey).add(kI32Key).add(uint64_t{sizes.size()});
    for (const int32_t size : sizes) bytes.add(size);
    bytes.tensor("q", {256, 6}, kQ8, 0).tensor("o", {4, 2}, kF32, 1632).pad().zeros(1632).zeros(32);
    return bytes;
  };
  const GgufBytes good = folded({24, 64});
  const auto file = good.parse();
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ((*file)->find("q")->shape(), (Shape{24, 64}));
  EXPECT_EQ((*file)->find("q")->foreign, "Q8_0 [24, 64]");
  EXPECT_EQ((*file)->find("o")->shape(), (Shape{2, 4}));
  for (const auto& sizes : {std::vector<int32_t>{24, 65}, {}, {0, 1536}})
    EXPECT_THAT(folded(sizes).problem(), HasSubstr("another number of elements than the tensor"));
  EXPECT_THAT(folded({-24, -64}).problem(),
              HasSubstr("orig_shape.q\" has a size -24, expected whole numbers"));
  EXPECT_THAT(folded({2, 2, 2, 2, 2, 48}).problem(), HasSubstr("has 6 sizes, at most 5 expected"));
}

// Cut anywhere, a file is refused in words or, in the padding at its end, whole.
TEST(Gguf, TruncatedFilesSaySo) {
  GgufBytes bytes(2, 2);
  bytes.key("general.architecture", kTextKey).text("x");
  bytes.key("list", kArrayKey).add(kTextKey).add(uint64_t{1}).text("entry");
  bytes.tensor("a", {4}, kF32, 0).tensor("b", {32}, kQ8, 32).pad().zeros(32 + 34);
  const std::string& whole = bytes.bytes();
  ASSERT_EQ(bytes.problem(), "");
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto part = std::make_unique<std::byte[]>(size);
    if (size > 0) std::memcpy(part.get(), whole.data(), size);
    const auto file = GgufFile::parse({part.get(), size}, "x.gguf");
    ASSERT_FALSE(file) << size;
    EXPECT_EQ(file.error().code, ErrorCode::kBadFormat);
    EXPECT_EQ(file.error().message.find("x.gguf: "), 0u) << file.error().message;
  }
}

TEST(Gguf, CountsThatTheFileHasNoRoomForAllocateNothing) {
  constexpr uint64_t kMany = uint64_t{1} << 60;
  EXPECT_THAT(GgufBytes(kMany).problem(),
              HasSubstr("1152921504606846976 tensors in a file of 24 bytes"));
  EXPECT_THAT(GgufBytes(0, ~uint64_t{0}).problem(),
              HasSubstr("18446744073709551615 keys in a file of 24 bytes"));
  const auto array = [](uint32_t type) {
    GgufBytes bytes(0, 1);
    return bytes.key("k", kArrayKey).add(type).add(kMany).zeros(64).problem();
  };
  EXPECT_THAT(array(kU8Key), HasSubstr("an array of 1152921504606846976 values"));
  EXPECT_THAT(array(kTextKey), HasSubstr("an array of 1152921504606846976 values"));
  EXPECT_THAT(array(kArrayKey), HasSubstr("key \"k\" is an array of arrays"));
  GgufBytes text(0, 1);
  EXPECT_THAT(text.key("k", kTextKey).add(kMany).zeros(64).problem(),
              HasSubstr("key \"k\" needs 1152921504606846976 bytes"));
  GgufBytes name(0, 1);
  EXPECT_THAT(name.add(kMany).zeros(64).problem(),
              HasSubstr("the name of key 1 of 1 needs 1152921504606846976 bytes"));
  GgufBytes long_name(0, 1);
  EXPECT_THAT(long_name.text(std::string(70'000, 'k')).zeros(64).problem(),
              HasSubstr("the name of key 1 of 1 has 70000 bytes, at most 65535 expected"));
}

TEST(Gguf, WhatItBeginsWithIsChecked) {
  const auto problem = [](std::string bytes, std::initializer_list<std::pair<size_t, char>> edits) {
    for (const auto& [at, byte] : edits) bytes[at] = byte;
    const auto file = GgufFile::parse(std::as_bytes(std::span(bytes)), "x.gguf");
    return file ? "" : file.error().message;
  };
  const std::string good = one_tensor().bytes();
  EXPECT_EQ(problem(good, {}), "");
  EXPECT_EQ(problem(good, {{0, 'P'}, {1, '\n'}}),
            "x.gguf: begins with \"P\\x0aUF\", expected \"GGUF\"; not GGUF?");
  EXPECT_EQ(problem(good, {{4, 1}}), "x.gguf: version 1, supported are 2 and 3");
  EXPECT_EQ(problem(good, {{4, 99}}), "x.gguf: version 99, supported are 2 and 3");
  EXPECT_EQ(problem(good, {{4, 0}, {7, 3}}),
            "x.gguf: a big-endian file; supported are little-endian ones");
  EXPECT_EQ(problem("", {}), "x.gguf: empty file, too short for GGUF");
  EXPECT_EQ(problem("GGUF", {}), "x.gguf: 4 bytes, too short for GGUF");
}

TEST(Gguf, NamesAppearOnceAndAreUtf8) {
  GgufBytes keys(0, 2);
  EXPECT_EQ(keys.key("k", kU8Key).add(uint8_t{1}).key("k", kU8Key).add(uint8_t{1}).problem(),
            "x.gguf: key \"k\" appears twice");
  GgufBytes bad_key(0, 1);
  EXPECT_EQ(bad_key.key("k\xff", kU8Key).add(uint8_t{1}).problem(),
            "x.gguf: the name of key 1 of 1 is not UTF-8: k\\xff");
  GgufBytes tensors(2);
  tensors.tensor("a", {1}, kF32, 0).tensor("a", {1}, kF32, 32).pad().zeros(64);
  EXPECT_EQ(tensors.problem(), "x.gguf: tensor \"a\" appears twice");
  GgufBytes bad_tensor(1);
  bad_tensor.tensor("\xc3\x28", {1}, kF32, 0).pad().zeros(64);
  EXPECT_THAT(bad_tensor.problem(), HasSubstr("the name of tensor 1 of 1 is not UTF-8"));
  GgufBytes type(0, 1);
  EXPECT_EQ(type.key("k", 13).zeros(64).problem(),
            "x.gguf: key \"k\" is of type 13, expected 0 to 12");
}

TEST(Gguf, AlignmentIsAPowerOfTwo) {
  const auto aligned = [](uint32_t alignment) {
    GgufBytes bytes(1, 1);
    bytes.key("general.alignment", kU32Key).add(alignment).tensor("a", {1}, kF32, 0).pad(128);
    return bytes.zeros(4).problem();
  };
  EXPECT_EQ(aligned(128), "");
  for (const uint32_t bad : {0u, 3u, 48u, 1u << 31})
    EXPECT_THAT(aligned(bad), HasSubstr("general.alignment\" is " + std::to_string(bad) +
                                        ", expected a power of two"));
  GgufBytes text(0, 1);
  EXPECT_THAT(text.key("general.alignment", kTextKey).text("32").problem(),
              HasSubstr("is a text, expected a number"));
}

TEST(Gguf, TensorsMustFitTheirTypeAndTheData) {
  const auto problem = [](const std::vector<uint64_t>& sizes, uint32_t type, uint64_t offset) {
    GgufBytes bytes(1);
    return bytes.tensor("a", sizes, type, offset).pad().zeros(256).problem();
  };
  EXPECT_EQ(problem({64}, kF32, 0), "");
  EXPECT_EQ(problem({256}, kI8, 0), "");
  EXPECT_THAT(problem({65}, kF32, 0), HasSubstr("260 bytes from byte 0 on, outside the 256"));
  EXPECT_THAT(problem({64}, kF32, 32), HasSubstr("256 bytes from byte 32 on, outside the 256"));
  EXPECT_THAT(problem({1}, kF32, 4),
              HasSubstr("begins at byte 4 of the data, expected a multiple"));
  EXPECT_THAT(problem({1}, kF32, ~uint64_t{31}), HasSubstr("outside the 256 of data"));
  EXPECT_THAT(problem({1, 1, 1, 1, 1}, kF32, 0), HasSubstr("5 dimensions, at most 4 expected"));
  EXPECT_THAT(problem({4, 0}, kF32, 0), HasSubstr("has a dimension of 0 elements"));
  EXPECT_THAT(problem({48}, kQ8, 0), HasSubstr("rows of 48 elements in Q8_0, expected a multiple"));
  EXPECT_THAT(problem({uint64_t{1} << 32, uint64_t{1} << 32}, kI8, 0),
              HasSubstr("more elements than can be counted"));
  EXPECT_THAT(problem({uint64_t{1} << 62}, kF16, 0), HasSubstr("more bytes than can be counted"));
  for (const uint32_t gone : {4u, 5u, 31u, 36u, 200u})
    EXPECT_THAT(problem({32}, gone, 0),
                HasSubstr("is of type " + std::to_string(gone) + ", which is not known"));
  GgufBytes overlap(2);
  overlap.tensor("a", {16}, kF32, 0).tensor("b", {1}, kF32, 32).pad().zeros(256);
  EXPECT_EQ(overlap.problem(), "x.gguf: tensor \"b\" overlaps the one before it in the data");
  GgufBytes no_data(1);
  EXPECT_THAT(no_data.tensor("a", {1}, kF32, 0).problem(), HasSubstr("before its data"));
}

TEST(Gguf, AFileThatChangesIsAnErrorThatNamesIt) {
  const TempFolder folder;
  folder.write("x.gguf", one_tensor().bytes());
  const auto file = GgufFile::open(folder / "x.gguf");
  ASSERT_TRUE(file);
  std::filesystem::resize_file(folder / "x.gguf", 10);
  const auto floats = read_floats(*(*file)->find("a"));
  ASSERT_FALSE(floats);
  EXPECT_THAT(floats.error().message, HasSubstr("x.gguf: changed while it was read"));
}

}  // namespace
}  // namespace intaglio
