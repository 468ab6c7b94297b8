#include "io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <random>

#include "support/temp_folder.h"

namespace intaglio {
namespace {

using ::testing::HasSubstr;

std::string file_bytes(const std::string& header, size_t data_bytes, int64_t claimed = -1) {
  const uint64_t length = claimed < 0 ? header.size() : static_cast<uint64_t>(claimed);
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  bytes += header;
  for (size_t i = 0; i < data_bytes; ++i) bytes += static_cast<char>(i);
  return bytes;
}

std::string bytes_of(const TensorView& view) {
  return {static_cast<const char*>(view.data), view.size_bytes()};
}

Expected<std::shared_ptr<const SafetensorsFile>> parse(const std::string& bytes) {
  return SafetensorsFile::parse(std::as_bytes(std::span(bytes.data(), bytes.size())), "file");
}

// Expects a kBadFormat error with the file's name and `message`.
void expect_refused(const std::string& bytes, const std::string& message) {
  const auto file = parse(bytes);
  ASSERT_FALSE(file) << message;
  EXPECT_EQ(file.error().code, ErrorCode::kBadFormat);
  EXPECT_THAT(file.error().message, HasSubstr("file: "));
  EXPECT_THAT(file.error().message, HasSubstr(message));
}
void expect_header_refused(const std::string& header, size_t data_bytes,
                           const std::string& message) {
  expect_refused(file_bytes(header, data_bytes), message);
}

TEST(Safetensors, ReadsNamesTypesShapesAndBytes) {
  const std::string bytes = file_bytes(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"U8","shape":[3],"data_offsets":[4,7]},)"
      R"("a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}   )",
      7);
  const auto file = parse(bytes);
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_EQ((*file)->tensors().size(), 2u);
  EXPECT_EQ((*file)->tensors()[0].name, "a");
  const TensorEntry* b = (*file)->find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->view.dtype, DType::kU8);
  EXPECT_EQ(b->view.shape, Shape({3}));
  EXPECT_EQ(b->view.as<uint8_t>()[2], 6);
  EXPECT_EQ((*file)->find("c"), nullptr);
  EXPECT_EQ((*file)->find(""), nullptr);
  EXPECT_EQ((*file)->metadata().at("format"), "pt");
}

TEST(Safetensors, AcceptsEveryTypeScalarsAndEmptyTensors) {
  const std::pair<const char*, int> types[] = {
      {"F64", 8}, {"F32", 4},     {"F16", 2},     {"BF16", 2}, {"I64", 8},
      {"I32", 4}, {"I16", 2},     {"I8", 1},      {"U8", 1},   {"BOOL", 1},
      {"U16", 2}, {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"U32", 4},  {"U64", 8}};
  for (const auto& [name, size] : types) {
    const auto file = parse(file_bytes(
        fmt::format(R"({{"t":{{"dtype":"{}","shape":[],"data_offsets":[0,{}]}}}})", name, size),
        static_cast<size_t>(size)));
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ((*file)->tensors()[0].view.shape.rank, 0);
    EXPECT_EQ((*file)->tensors()[0].view.size_bytes(), static_cast<size_t>(size));
  }
  const auto empty = parse(file_bytes(R"({"a":{"dtype":"F32","shape":[4,0],"data_offsets":[0,0]},)"
                                      R"("b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                                      R"("c":{"dtype":"F32","shape":[0],"data_offsets":[2,2]}})",
                                      2));
  ASSERT_TRUE(empty) << empty.error().message;
  EXPECT_TRUE(parse(file_bytes("{}", 0)));
}

TEST(Safetensors, RefusesBrokenLengths) {
  expect_refused("", "too short");
  expect_refused("1234567", "too short");
  expect_refused(file_bytes("", 0), "does not start with");
  expect_refused(file_bytes("{}", 0, 3), "truncated");
  expect_refused(file_bytes("{}", 0, 100'000'001), "at most 100000000");
  expect_refused(std::string(8, '\xff') + "{}", "at most 100000000");
  expect_refused(file_bytes("  ", 0), "does not start with");
  expect_refused(file_bytes(std::string("\0{}", 3), 0), "does not start with");
}

TEST(Safetensors, RefusesBrokenHeaders) {
  expect_header_refused("{", 0, "not valid JSON");
  expect_header_refused("{} x", 0, "not valid JSON");
  expect_header_refused(std::string("{}\0x", 4), 0, "the header holds a NUL byte");
  expect_header_refused("{\"\xff\":{}}", 0, "not valid JSON");
  expect_header_refused(R"({"a":1})", 0, "expected an object, found 1");
  expect_header_refused(R"({"a":[]})", 0, "expected an object, found an array");
  expect_header_refused(R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1, "\"a\": has no dtype");
  expect_header_refused(R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1, "has no shape");
  expect_header_refused(R"({"a":{"dtype":"U8","shape":[1]}})", 1, "has no data_offsets");
  expect_header_refused(R"({"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}})", 1,
                        "\"a\": F4 [1] needs 0 and a part bytes, found 1");
  expect_header_refused(R"({"a":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,4]}})", 4,
                        "F6_E2M3 [4] needs 3 bytes, found 4");
  expect_header_refused(R"({"a":{"dtype":8,"shape":[1],"data_offsets":[0,1]}})", 1, "unexpected 8");
  expect_header_refused(R"({"a":{"dtype":"U8","shape":"1","data_offsets":[0,1]}})", 1,
                        "unexpected \"1\"");
  expect_header_refused(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1,
                        "expected sizes, found -1");
  expect_header_refused(R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", 1,
                        "expected sizes");
  expect_header_refused(R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})", 1,
                        "expected sizes");
  expect_header_refused(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,2],"data_offsets":[0,1]}})", 1,
                        "U8 [1, 1, 1, 1, 1, 2] needs 2 bytes");
  expect_header_refused(R"({"a":{"dtype":"X9","shape":[7],"data_offsets":[0,2]}})", 1,
                        "outside the 1 bytes");
  expect_header_refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1, "found 1");
  expect_header_refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}})", 1,
                        "found more");
  expect_header_refused(R"({"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}})", 1,
                        "\"shape\" appears twice");
  expect_header_refused(R"({"a":{"x":{"dtype":"U8"},"shape":[1],"data_offsets":[0,1]}})", 1,
                        "has no dtype");
  expect_header_refused(R"({"__metadata__":{"a":1}})", 0, "metadata \"a\": expected text");
  expect_header_refused(R"({"__metadata__":{},"__metadata__":{}})", 0, "appears twice");
  const std::string u8 = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  expect_header_refused("{\"a\":" + u8 + ",\"a\":" + u8 + "}", 1, "\"a\" appears twice");
  // The size of the nesting must not become stack or memory.
  expect_header_refused("{\"a\":" + std::string(5'000'000, '['), 0, "expected an object");
  // Control bytes of a hostile name never reach the terminal.
  expect_header_refused(R"({"\u001b[2J":{"dtype":"F4"}})", 0, "\\x1b[2J");
  expect_header_refused(R"({"a":{"dtype":"F64","shape":[2],"data_offsets":[0,1]}})", 1, "F64 [2]");
}

// What the published reader passes over, this one does.
TEST(Safetensors, HarmlessOdditiesAreRead) {
  const std::string a = R"("dtype":"U8","shape":[2],"data_offsets":[0,2])";
  for (
      const std::string& header : std::vector<std::string>{
          " \n\t\r{\"a\":{" + a + "}}  \n",
          R"({"__metadata__":null,"a":{)" + a + "}}",
          R"({"a":{)" + a + R"(},"__metadata__":{"k":"v"}})",
          R"({"a":{"x":1,)" + a + "}}",
          R"({"a":{"x":[{"y":[1,{"dtype":"F32"}]},"z",null,true,1.5,-2],)" + a + "}}",
          R"({"a":{)" + a + R"(,"x":{"shape":{"a":[]}},"w":null}})",
          R"({"a":{"data_offsets":[0,2],"shape":[2],"dtype":"U8"},"e":{"dtype":"F32","shape":[3,0],"data_offsets":[2,2]}})",
      }) {
    const std::string bytes = file_bytes(header, 2);
    const auto file = parse(bytes);
    ASSERT_TRUE(file) << header << ": " << file.error().message;
    const TensorEntry* tensor = (*file)->find("a");
    ASSERT_NE(tensor, nullptr) << header;
    EXPECT_EQ(tensor->view.as<uint8_t>()[1], 1) << header;
    EXPECT_EQ(tensor->foreign, "") << header;
  }
}

// A type or a rank without a place in this program is kept as bytes: it harms nothing until
// something asks for it.
TEST(Safetensors, ForeignTensorsAreBytes) {
  for (const auto& [type, shape, size, text] :
       std::vector<std::tuple<std::string, std::string, int, std::string>>{
           {"F4", "[3,2]", 3, "F4 [3, 2]"},
           {"F6_E2M3", "[8]", 6, "F6_E2M3 [8]"},
           {"F6_E3M2", "[4,1]", 3, "F6_E3M2 [4, 1]"},
           {"F8_E8M0", "[4]", 4, "F8_E8M0 [4]"},
           {"F8_E4M3FNUZ", "[]", 1, "F8_E4M3FNUZ []"},
           {"F8_E5M2FNUZ", "[0]", 0, "F8_E5M2FNUZ [0]"},
           {"C64", "[2]", 16, "C64 [2]"},
           {"NEVER_HEARD_OF", "[1000]", 5, "NEVER_HEARD_OF [1000]"},
           {"U8", "[1,1,1,2,1,1]", 2, "U8 [1, 1, 1, 2, 1, 1]"}}) {
    const std::string bytes =
        file_bytes(fmt::format(R"({{"t":{{"dtype":"{}","shape":{},"data_offsets":[0,{}]}}}})", type,
                               shape, size),
                   static_cast<size_t>(size));
    const auto file = parse(bytes);
    ASSERT_TRUE(file) << file.error().message;
    const TensorEntry& tensor = (*file)->tensors()[0];
    EXPECT_EQ(tensor.foreign, text);
    EXPECT_EQ(tensor.view.dtype, DType::kU8);
    EXPECT_EQ(tensor.view.shape, Shape({size}));
  }
}

TEST(Safetensors, RefusesOffsetsThatDoNotFit) {
  const auto one = [](const char* shape, const char* offsets) {
    return fmt::format(R"({{"a":{{"dtype":"F32","shape":{},"data_offsets":{}}}}})", shape, offsets);
  };
  expect_header_refused(one("[2]", "[0,8]"), 4, "outside the 4 bytes");
  expect_header_refused(one("[1]", "[4,0]"), 4, "outside the 4 bytes");
  expect_header_refused(one("[1]", "[18446744073709551612,18446744073709551615]"), 4,
                        "outside the 4 bytes");
  expect_header_refused(one("[1]", "[0,18446744073709551616]"), 4, "data_offsets");
  expect_header_refused(one("[1]", "[0,3]"), 3, "needs 4 bytes, found 3");
  expect_header_refused(one("[2]", "[0,4]"), 4, "needs 8 bytes, found 4");
  expect_header_refused(one("[0]", "[0,4]"), 4, "needs 0 bytes, found 4");
  // 2^62 x 4 bytes is 2^64: wrapped, it would be 0.
  expect_header_refused(one("[4611686018427387904]", "[0,0]"), 0, "needs too many bytes");
  expect_header_refused(one("[4294967296,4294967296]", "[0,0]"), 0, "needs too many bytes");
  // Empty, yet the product of its sizes overflows on the way.
  expect_header_refused(one("[4611686018427387904,4611686018427387904,0]", "[0,0]"), 0,
                        "needs too many bytes");
  expect_header_refused(one("[9223372036854775808]", "[0,0]"), 0, "too large");
}

TEST(Safetensors, RefusesHolesAndOverlaps) {
  const auto two = [](const char* a, const char* b) {
    return fmt::format(
        R"({{"a":{{"dtype":"U8","shape":[4],"data_offsets":{}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{}}}}})",
        a, b);
  };
  EXPECT_TRUE(parse(file_bytes(two("[4,8]", "[0,4]"), 8)));
  expect_header_refused(two("[0,4]", "[3,7]"), 7, "\"b\": bytes 3..7 overlap");
  expect_header_refused(two("[0,4]", "[0,4]"), 4, "overlap");
  expect_header_refused(two("[0,4]", "[5,9]"), 9, "(a hole)");
  expect_header_refused(two("[1,5]", "[5,9]"), 9, "(a hole)");
  expect_header_refused(two("[0,4]", "[4,8]"), 9, "1 bytes of data belong to no tensor");
}

// No bytes may crash: every prefix, and random changes of single bytes, of a valid file.
TEST(Safetensors, SurvivesDamage) {
  const std::string good = file_bytes(
      R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}})", 8);
  ASSERT_TRUE(parse(good));
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_FALSE(parse(good.substr(0, length))) << length;
  }
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = good;
    for (int changes = 0; changes < 3; ++changes)
      bytes[random() % (good.size() - 8)] = static_cast<char>(random());
    const auto file = parse(bytes);
    if (!file) continue;
    for (const TensorEntry& entry : (*file)->tensors()) EXPECT_LE(entry.view.size_bytes(), 8u);
  }
}

TEST(Safetensors, WritesWhatItReads) {
  const TempFolder folder;
  const float values[] = {1.5f, -2.0f, 3.25f};
  const uint8_t bytes[] = {7, 8, 9, 10, 11};
  const std::vector<TensorEntry> tensors = {{"z.weight", {values, DType::kF32, {3, 1}}},
                                            {"a \"quoted\" \n\u00e9", {bytes, DType::kU8, {5}}},
                                            {"nothing", {bytes, DType::kI8, {0, 3}}},
                                            {"scalar", {values + 1, DType::kF32, {}}}};
  const auto path = folder / "out.safetensors";
  ASSERT_TRUE(write_safetensors(path, tensors, {{"prompt", "a \"b\""}}));
  EXPECT_EQ(folder.entries(), 1u);
  const auto file = SafetensorsFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ((*file)->path(), path);
  EXPECT_EQ((*file)->metadata().at("prompt"), "a \"b\"");
  ASSERT_EQ((*file)->tensors().size(), 4u);
  for (const TensorEntry& expected : tensors) {
    const TensorEntry* found = (*file)->find(expected.name);
    ASSERT_NE(found, nullptr) << expected.name;
    EXPECT_EQ(found->view.dtype, expected.view.dtype);
    EXPECT_EQ(found->view.shape, expected.view.shape);
    const auto tensor = read_tensor(*found);
    ASSERT_TRUE(tensor) << tensor.error().message;
    EXPECT_EQ(bytes_of(tensor->view), bytes_of(expected.view));
  }
  // The first tensor given is the first of the data, which starts 8-byte aligned in the file.
  EXPECT_EQ((*file)->find("z.weight")->at % 8, 0u);
  const auto floats = read_floats(*(*file)->find("z.weight"));
  ASSERT_TRUE(floats);
  EXPECT_EQ(*floats, std::vector<float>(values, values + 3));
  EXPECT_FALSE(read_floats(*(*file)->find("nothing")));
}

TEST(Safetensors, WriterRefusesWhatReadersWould) {
  const TempFolder folder;
  const float value = 1;
  const TensorView view{&value, DType::kF32, {1}};
  const std::vector<TensorEntry> twice = {{"a", view}, {"a", view}};
  EXPECT_EQ(write_safetensors(folder / "x", twice).error().code, ErrorCode::kInvalidArgument);
  const std::vector<TensorEntry> reserved = {{"__metadata__", view}};
  EXPECT_FALSE(write_safetensors(folder / "x", reserved));
  const std::vector<TensorEntry> not_utf8 = {{"\xff", view}};
  EXPECT_FALSE(write_safetensors(folder / "x", not_utf8));
  const std::vector<TensorEntry> good = {{"a", view}};
  EXPECT_EQ(write_safetensors(folder / "no/such/x", good).error().code, ErrorCode::kIo);
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(Safetensors, OpenExplainsWhatIsNotAFile) {
  const TempFolder folder;
  EXPECT_EQ(SafetensorsFile::open(folder / "missing").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(SafetensorsFile::open(folder.path()).error().code, ErrorCode::kIo);
  EXPECT_EQ(SafetensorsFile::open(folder.write("empty", "")).error().code, ErrorCode::kBadFormat);
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(SafetensorsFile::open(folder / "pipe").error().code,
            ErrorCode::kIo);  // and does not wait
  EXPECT_EQ(SafetensorsFile::open("/dev/zero").error().code, ErrorCode::kIo);
  EXPECT_EQ(SafetensorsFile::open("/proc/self/status").error().message,
            "/proc/self/status: empty file, too short for safetensors");
}

}  // namespace
}  // namespace intaglio
