#include "io/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/json_config.h"
#include "io/safetensors.h"
#include "support/temp_folder.h"
#include "unit/io/gguf_bytes.h"

namespace intaglio {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const float kA[] = {1, 2, 3, 4};
const float kB[] = {5, 6};

TensorEntry entry(const std::string& name, const float* data, Shape shape) {
  return {name, {data, DType::kF32, shape}};
}

void write(const std::filesystem::path& path, const std::vector<TensorEntry>& tensors) {
  const Status status = write_safetensors(path, tensors);
  ASSERT_TRUE(status) << status.error().message;
}

TEST(Checkpoint, OpensASingleFileUnderEitherName) {
  for (const char* name : {"diffusion_pytorch_model.safetensors", "model.safetensors"}) {
    const TempFolder folder;
    write(folder / name, {entry("b", kB, {2}), entry("a", kA, {2, 2})});
    const auto checkpoint = Checkpoint::open(folder.path());
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    EXPECT_EQ((*checkpoint)->files().size(), 1u);
    ASSERT_EQ((*checkpoint)->tensors().size(), 2u);
    EXPECT_EQ((*checkpoint)->tensors()[0]->name, "a");
    EXPECT_EQ(read_floats(*(*checkpoint)->find("b"))->at(1), 6.0f);
    EXPECT_EQ((*checkpoint)->find("c"), nullptr);
  }
}

TEST(Checkpoint, NamesTheFilesItLookedFor) {
  const TempFolder folder;
  const auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_FALSE(checkpoint);
  EXPECT_EQ(checkpoint.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(checkpoint.error().message, HasSubstr("model.safetensors.index.json"));
}

TEST(Checkpoint, OpensAFileOrAnIndexByName) {
  const TempFolder folder;
  write(folder / "any name.safetensors", {entry("a", kA, {4})});
  const auto file = Checkpoint::open(folder / "any name.safetensors");
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(read_floats(*(*file)->find("a"))->at(0), 1.0f);
  EXPECT_EQ((*file)->path(), folder / "any name.safetensors");
  folder.write("x.json", R"({"weight_map":{"a":"any name.safetensors"}})");
  EXPECT_TRUE(Checkpoint::open(folder / "x.json"));
  EXPECT_EQ(Checkpoint::open(folder / "gone.safetensors").error().code, ErrorCode::kNotFound);
  EXPECT_THAT(Checkpoint::open(folder / "gone").error().message, HasSubstr("no such folder"));
}

TEST(Checkpoint, AVariantIsTakenWhenItIsTheOnlyOne) {
  for (const char* name : {"diffusion_pytorch_model.fp16.safetensors", "model.bf16.safetensors",
                           "model.non_ema.safetensors"}) {
    const TempFolder folder;
    write(folder / name, {entry("a", kA, {4})});
    folder.write("config.json", "{}");
    folder.write("modelling.fp16.safetensors", "");
    folder.write("model.fp16-00001-of-00002.safetensors", "");
    const auto checkpoint = Checkpoint::open(folder.path());
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    EXPECT_EQ((*checkpoint)->path().filename(), name);
  }
  for (const char* name : {"model.safetensors.index.fp16.json", "model.fp16.safetensors.index.json",
                           "diffusion_pytorch_model.safetensors.index.bf16.json"}) {
    const TempFolder folder;
    write(folder / "model.fp16-00001-of-00001.safetensors", {entry("a", kA, {4})});
    folder.write(name, R"({"weight_map":{"a":"model.fp16-00001-of-00001.safetensors"}})");
    EXPECT_TRUE(Checkpoint::open(folder.path())) << name;
  }
  const TempFolder folder;
  write(folder / "model.fp16.safetensors", {entry("a", kA, {4})});
  write(folder / "model.fp8.safetensors", {entry("a", kA, {4})});
  const auto two = Checkpoint::open(folder.path());
  ASSERT_FALSE(two);
  EXPECT_THAT(two.error().message, HasSubstr("more than one variant"));
  EXPECT_THAT(two.error().message,
              HasSubstr("there is model.fp16.safetensors, model.fp8.safetensors"));
  write(folder / "model.safetensors", {entry("b", kA, {4})});
  EXPECT_NE((*Checkpoint::open(folder.path()))->find("b"), nullptr);
}

TEST(Checkpoint, OpensGguf) {
  const TempFolder folder;
  test::GgufBytes bytes(1);
  bytes.tensor("a", {4}, 0, 0).pad();
  for (const float value : kA) bytes.add(value);
  folder.write("any-Q8_0.gguf", bytes.bytes());
  folder.write("config.json", "{}");
  for (const std::filesystem::path& path : {folder.path(), folder / "any-Q8_0.gguf"}) {
    const auto checkpoint = Checkpoint::open(path);
    ASSERT_TRUE(checkpoint) << checkpoint.error().message;
    EXPECT_EQ((*checkpoint)->path(), folder / "any-Q8_0.gguf");
    EXPECT_EQ((*checkpoint)->files().front()->container(), Container::kGguf);
    EXPECT_EQ(*read_floats(*(*checkpoint)->find("a")), (std::vector<float>{1, 2, 3, 4}));
  }
  // The same weights are the same, whatever holds them.
  const TempFolder other;
  write(other / "model.safetensors", {entry("a", kA, {4})});
  EXPECT_EQ(*(*Checkpoint::open(folder.path()))->hash(),
            *(*Checkpoint::open(other.path()))->hash());
  folder.write("any-Q4_0.gguf", bytes.bytes());
  const auto two = Checkpoint::open(folder.path());
  ASSERT_FALSE(two);
  EXPECT_THAT(two.error().message, HasSubstr("more than one variant of the weights"));
  EXPECT_THAT(two.error().message, HasSubstr("any-Q4_0.gguf, any-Q8_0.gguf"));
}

TEST(Checkpoint, AnotherKindOfFileIsNamed) {
  const TempFolder folder;
  folder.write("model.ckpt", "x");
  const auto checkpoint = Checkpoint::open(folder / "model.ckpt");
  ASSERT_FALSE(checkpoint);
  EXPECT_EQ(checkpoint.error().message,
            (folder / "model.ckpt").string() +
                ": unknown kind of file; expected weights as .safetensors or .gguf");
}

TEST(Checkpoint, SaysWhatLiesThere) {
  const TempFolder folder;
  EXPECT_THAT(Checkpoint::open(folder.path()).error().message, HasSubstr("there is nothing"));
  folder.write("pytorch_model.bin", "x");
  std::filesystem::create_symlink(folder / "gone", folder / "model.weights");
  EXPECT_THAT(Checkpoint::open(folder.path()).error().message,
              HasSubstr("there is model.weights (a link to nothing), pytorch_model.bin"));
}

// A tensor that nothing asks for may be of any type; one that is asked for may not.
TEST(Checkpoint, ForeignTensorsHarmOnlyWhoNeedsThem) {
  const TempFolder folder;
  const std::string header =
      R"({"a":{"dtype":"F4","shape":[2,4],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})";
  std::string bytes(8, '\0');
  bytes[0] = static_cast<char>(header.size());
  folder.write("model.safetensors", bytes + header + std::string(8, 'x'));
  const auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_EQ((*checkpoint)->find("b")->view.dtype, DType::kF32);
  EXPECT_EQ((*checkpoint)->find("a")->foreign, "F4 [2, 4]");
}

TEST(Checkpoint, OpensShards) {
  const TempFolder folder, whole;
  write(folder / "part-1.safetensors", {entry("a", kA, {2, 2})});
  write(folder / "part-2.safetensors", {entry("b", kB, {2})});
  folder.write(
      "model.safetensors.index.json",
      R"({"metadata":{},"weight_map":{"a":"part-1.safetensors","b":"part-2.safetensors"}})");
  const auto sharded = Checkpoint::open(folder.path());
  ASSERT_TRUE(sharded) << sharded.error().message;
  EXPECT_EQ((*sharded)->files().size(), 2u);
  EXPECT_EQ(read_floats(*(*sharded)->find("b"))->at(0), 5.0f);
  EXPECT_EQ((*sharded)->file_of(*(*sharded)->find("b")), "part-2.safetensors");
  // The same weights in one file are the same weights.
  write(whole / "model.safetensors", {entry("b", kB, {2}), entry("a", kA, {2, 2})});
  const auto single = Checkpoint::open(whole.path());
  ASSERT_TRUE(single);
  EXPECT_EQ(*(*sharded)->hash(), *(*single)->hash());
}

TEST(Checkpoint, HashSeesNamesTypesShapesAndData) {
  const auto hash = [](const TensorEntry& tensor) {
    const TempFolder folder;
    write(folder / "model.safetensors", {tensor});
    return *(*Checkpoint::open(folder.path()))->hash();
  };
  const float other[] = {1, 2, 3, 5};
  const uint64_t base = hash(entry("a", kA, {2, 2}));
  EXPECT_EQ(base, hash(entry("a", kA, {2, 2})));
  EXPECT_NE(base, hash(entry("b", kA, {2, 2})));
  EXPECT_NE(base, hash(entry("a", kA, {4})));
  EXPECT_NE(base, hash(entry("a", other, {2, 2})));
  EXPECT_NE(base, hash({"a", {kA, DType::kI32, {2, 2}}}));
}

TEST(Checkpoint, RefusesShardNamesThatLeaveTheFolder) {
  const TempFolder outer;
  write(outer / "outside.safetensors", {entry("a", kA, {4})});
  std::filesystem::create_directories(outer / "in/sub");
  write(outer / "in/sub/inside.safetensors", {entry("a", kA, {4})});
  const auto open_with = [&](const std::string& shard) {
    outer.write("in/model.safetensors.index.json", R"({"weight_map":{"a":)" + shard + "}}");
    return Checkpoint::open(outer / "in");
  };
  EXPECT_TRUE(open_with(R"("sub/inside.safetensors")"));
  const std::string absolute = nlohmann::json((outer / "outside.safetensors").string()).dump();
  for (const std::string& shard :
       {std::string(R"("../outside.safetensors")"),
        std::string(R"("sub/../../outside.safetensors")"), absolute, std::string(R"("")"),
        std::string(R"("..")"), std::string(R"("sub/")"),
        std::string(R"("..\\outside.safetensors")"), std::string(R"("a\u0000b")"), std::string("7"),
        std::string("{}")}) {
    const auto checkpoint = open_with(shard);
    ASSERT_FALSE(checkpoint) << shard;
    EXPECT_EQ(checkpoint.error().code, ErrorCode::kBadFormat) << shard;
    EXPECT_THAT(checkpoint.error().message, HasSubstr("inside the folder")) << shard;
  }
}

TEST(Checkpoint, RefusesAnIndexThatDoesNotMatch) {
  const TempFolder folder;
  write(folder / "s.safetensors", {entry("a", kA, {4})});
  const auto open_with = [&](const std::string& index) {
    folder.write("model.safetensors.index.json", index);
    return Checkpoint::open(folder.path());
  };
  EXPECT_THAT(
      open_with(R"({"weight_map":{"a":"s.safetensors","b":"s.safetensors"}})").error().message,
      HasSubstr("\"b\" is not in s.safetensors"));
  EXPECT_EQ(open_with(R"({"weight_map":{"a":"gone.safetensors"}})").error().code,
            ErrorCode::kNotFound);
  EXPECT_FALSE(open_with(R"({"weight_map":[]})"));
  EXPECT_FALSE(open_with(R"({})"));
  EXPECT_FALSE(open_with("[]"));
  EXPECT_FALSE(open_with("{"));
}

TEST(Checkpoint, AFileThatChangesWhileItIsReadIsAnErrorThatNamesIt) {
  const TempFolder folder;
  const std::vector<float> values(3'000'000, 1.0f);  // more than is read at once
  const std::filesystem::path path = folder / "model.safetensors";
  write(path, {entry("a", values.data(), {3'000'000}), entry("b", values.data(), {2})});
  const auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint);
  ASSERT_TRUE((*checkpoint)->hash());
  std::filesystem::resize_file(path, 1'000'000);
  for (const Status& status :
       {(*checkpoint)->hash().map([](uint64_t) {}),
        read_tensor(*(*checkpoint)->find("a")).map([](const Tensor&) {}),
        read_floats(*(*checkpoint)->find("b")).map([](const std::vector<float>&) {})}) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kIo);
    EXPECT_EQ(status.error().message.find(path.string() + ": changed while it was read"), 0u)
        << status.error().message;
  }
}

TEST(Checkpoint, HashingStopsOnRequest) {
  const TempFolder folder;
  const float value = 1;
  write(folder / "model.safetensors", {entry("a", &value, {1})});
  const auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint);
  const std::atomic<bool> cancel{true};
  EXPECT_EQ((*checkpoint)->hash(&cancel).error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace intaglio
