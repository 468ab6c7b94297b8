// Checkpoints against each other: equal ones, fused against split names, every format against the
// floats that it was made of.
#include "models/checkpoint_diff.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "models/checkpoint_quantizer.h"
#include "support/temp_folder.h"
#include "support/tested_devices.h"
#include "unit/io/formats/format_files.h"

namespace intaglio {
namespace {

CheckpointDifference diff(const StoredWeights& reference, const StoredWeights& other,
                          int threads = 2) {
  Context context = test::host_context();
  context.threads = threads;
  int64_t last = -1, all = 0;
  auto result = diff_checkpoints(context, reference, other, [&](int64_t done, int64_t of) {
    EXPECT_EQ(done, last + 1);
    last = done;
    all = of;
  });
  EXPECT_TRUE(result) << result.error().message;
  EXPECT_EQ(last, all);
  return std::move(*result);
}

CheckpointDifference diff(const std::string& reference, const std::string& other) {
  return diff(*weights_at(reference), *weights_at(other));
}

TEST(CheckpointDiff, AFileIsItself) {
  for (const std::string path :
       {"base/reference", "comfy_int8_convrot64/model.safetensors", "gguf_q8_0/sdcpp.gguf"}) {
    SCOPED_TRACE(path);
    const CheckpointDifference d = diff(path, path);
    EXPECT_FALSE(d.tensors.empty());
    EXPECT_TRUE(d.only_reference.empty() && d.only_other.empty() && d.not_compared.empty());
    EXPECT_EQ(d.linears.difference, 0.0);
    EXPECT_EQ(d.others.difference, 0.0);
    EXPECT_GT(d.linears.norm, 0.0);
    for (const TensorDifference& tensor : d.tensors) EXPECT_EQ(tensor.error.relative(), 0.0);
  }
}

// The reference's qkv against q, k and v; the numbers of both are the same.
TEST(CheckpointDiff, FusedNamesMeetSplitOnes) {
  for (const auto& [a, b] : {std::pair("base/reference", "base/diffusers"),
                             std::pair("base/diffusers", "base/reference")}) {
    const CheckpointDifference d = diff(a, b);
    EXPECT_THAT(d.only_reference, testing::IsEmpty());
    EXPECT_THAT(d.only_other, testing::IsEmpty());
    EXPECT_TRUE(d.not_compared.empty());
    EXPECT_EQ(d.linears.difference, 0.0);
    EXPECT_EQ(d.others.difference, 0.0);
    std::set<std::string> names;
    for (const TensorDifference& tensor : d.tensors) names.insert(tensor.name);
    EXPECT_TRUE(names.contains("layers.0.attention.to_q.weight"));
    EXPECT_TRUE(names.contains("layers.0.attention.to_out.0.weight"));
    EXPECT_FALSE(names.contains("layers.0.attention.qkv.weight"));
  }
}

// What a form's grid costs numbers of about a normal distribution, in relative L2: int8 rows whose
// largest of 64 is 2.4 to 3 deviations away lose 0.006 to 0.007; 4-bit forms some 15 times that.
TEST(CheckpointDiff, FormatsAreAsFarFromTheirFloatsAsTheirGridIsCoarse) {
  struct Case {
    const char* path;
    double least, most;
  };
  for (const Case& c : {Case{"comfy_int8_rowwise/model.safetensors", 0.004, 0.012},
                        {"comfy_int8_convrot64/model.safetensors", 0.004, 0.012},
                        {"comfy_int8_tensorwise/model.safetensors", 0.004, 0.05},
                        {"comfy_fp8_scaled/e4m3.safetensors", 0.015, 0.04},
                        {"comfy_nvfp4/model.safetensors", 0.05, 0.15},
                        {"gguf_q8_0/sdcpp.gguf", 0.002, 0.008},
                        {"gguf_q4_0/sdcpp.gguf", 0.04, 0.12},
                        {"gguf_bf16/sdcpp.gguf", 0.0, 0.003},
                        {"sdnq_int8/model", 0.002, 0.012}}) {
    SCOPED_TRACE(c.path);
    const CheckpointDifference d = diff("base/reference", c.path);
    EXPECT_THAT(d.only_reference, testing::IsEmpty());
    EXPECT_THAT(d.only_other, testing::IsEmpty());
    EXPECT_TRUE(d.not_compared.empty());
    EXPECT_GE(d.linears.relative(), c.least);
    EXPECT_LE(d.linears.relative(), c.most);
    for (size_t i = 1; i < d.tensors.size(); ++i)
      EXPECT_GE(d.tensors[i - 1].error.relative(), d.tensors[i].error.relative());
    SquaredError sum;
    for (const TensorDifference& tensor : d.tensors)
      if (tensor.is_linear) sum.add(tensor.error);
    EXPECT_EQ(sum.values, d.linears.values);
    EXPECT_NEAR(sum.difference, d.linears.difference, 1e-12 * d.linears.difference);
  }
}

TEST(CheckpointDiff, SumsDoNotDependOnThreads) {
  const auto a = weights_at("base/reference"),
             b = weights_at("comfy_int8_convrot64/model.safetensors");
  const CheckpointDifference one = diff(*a, *b, 1), two = diff(*a, *b, 2);
  ASSERT_EQ(one.tensors.size(), two.tensors.size());
  for (size_t i = 0; i < one.tensors.size(); ++i) {
    EXPECT_EQ(one.tensors[i].name, two.tensors[i].name);
    EXPECT_EQ(one.tensors[i].error.difference, two.tensors[i].error.difference);
  }
}

// Int8 rows, turned: the largest of a turned row lies 3 to 4 deviations away, a step is 127th of
// it, and its error a step over the root of 12: 0.007 to 0.009.
TEST(CheckpointDiff, TheBundledModelAndItsInt8Copy) {
  const TempFolder folder;
  const auto mini = Checkpoint::open(test::source_path("models/mini/transformer")).value();
  const auto quantizer = CheckpointQuantizer::plan(mini, {});
  ASSERT_TRUE(quantizer) << quantizer.error().message;
  ASSERT_TRUE(
      quantizer->write(test::host_context(), folder / "mini.safetensors", [](int64_t, int64_t) {}));
  const auto copy = Checkpoint::open(folder / "mini.safetensors").value();
  const CheckpointDifference d =
      diff(*StoredWeights::open(mini).value(), *StoredWeights::open(copy).value());
  EXPECT_THAT(d.only_reference, testing::IsEmpty());
  EXPECT_THAT(d.only_other, testing::IsEmpty());
  EXPECT_GT(d.linears.relative(), 0.005);
  EXPECT_LT(d.linears.relative(), 0.010);
  EXPECT_EQ(d.others.difference, 0.0);
}

TEST(CheckpointDiff, WhatOnlyOneHasAndWhatHasOtherShapesIsListed) {
  const TempFolder folder;
  const std::vector<float> values(24, 0.5f);
  const auto write = [&](const char* name, const std::vector<std::pair<std::string, Shape>>& list) {
    std::vector<TensorEntry> entries;
    for (const auto& [tensor, shape] : list)
      entries.push_back({tensor, {values.data(), DType::kF32, shape}});
    EXPECT_TRUE(write_safetensors(folder / name, entries, {}));
    return StoredWeights::open(Checkpoint::open(folder / name).value()).value();
  };
  const auto a =
      write("a.safetensors", {{"x.weight", {4, 6}}, {"x.bias", {4}}, {"y.weight", {4, 6}}});
  const auto b =
      write("b.safetensors", {{"x.weight", {6, 4}}, {"x.bias", {4}}, {"z.weight", {4, 6}}});
  const CheckpointDifference d = diff(*a, *b);
  EXPECT_THAT(d.only_reference, testing::ElementsAre("y.weight"));
  EXPECT_THAT(d.only_other, testing::ElementsAre("z.weight"));
  ASSERT_EQ(d.not_compared.size(), 1u);
  EXPECT_EQ(d.not_compared.front().name, "x.weight");
  EXPECT_EQ(d.not_compared.front().why,
            "the reference has a weight [4, 6], the other a weight [6, 4]");
  ASSERT_EQ(d.tensors.size(), 1u);
  EXPECT_EQ(d.tensors.front().name, "x.bias");
  EXPECT_FALSE(d.tensors.front().is_linear);
}

TEST(CheckpointDiff, AStopIsHeeded) {
  const auto a = weights_at("base/reference");
  const std::atomic<bool> stop{true};
  Context context = test::host_context();
  context.cancel = &stop;
  const auto stopped = diff_checkpoints(context, *a, *a, [](int64_t, int64_t) {});
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, ErrorCode::kCancelled);
}

}  // namespace
}  // namespace intaglio
