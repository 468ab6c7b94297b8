// What visitors make of the modules of a model.
#include "models/parts/modules.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

namespace intaglio {
namespace {

// One float tensor whose elements count up from 1.
class CountingSource : public TensorSource {
 public:
  Status check(const TensorShapes&) override { return {}; }
  Expected<Tensor> tensor(const std::string&, const Shape& shape) override {
    Tensor tensor;
    INTAGLIO_ASSIGN(tensor.memory, AlignedBuffer::allocate(
                                       static_cast<size_t>(shape[0] * shape[1]) * sizeof(float)));
    std::iota(tensor.memory.as<float>(), tensor.memory.as<float>() + shape[0] * shape[1], 1.0f);
    tensor.view = {tensor.memory.data(), DType::kF32, shape};
    return tensor;
  }
  Expected<LoadedLinear> linear(const Context&, const std::string& name,
                                const Shape& shape) override {
    INTAGLIO_ASSIGN(Tensor weight, tensor(name, shape));
    LoadedLinear loaded;
    loaded.linear.values = weight.view;
    loaded.values = std::move(weight.memory);
    return loaded;
  }
  StoredForm form(const std::string&, int64_t) const override { return {}; }
  Status rows(const std::string&, const Shape&, std::span<const int64_t>, float*) override {
    return {};
  }
  std::shared_ptr<const void> keep_alive() const override { return nullptr; }
};

// Rows keep their own columns when the input is wider than the weights: zeros follow each row.
TEST(PrepareModules, APaddedInputMeetsZeros) {
  Context context{.threads = 1, .cpu = host_cpu_features()};
  Arena arena = Arena::with_capacity(1 << 20).value();
  context.scratch = &arena;
  CountingSource source;
  const LayerSelection selection{.precision = Precision::kFp32, .keep_bf16 = {}};
  PrepareModules prepare(context, source, selection);
  LinearWeights weights;
  const Status status =
      prepare.linear({.names = {"w"}, .rows = {3}, .k = 5, .padded_k = 16}, weights);
  ASSERT_TRUE(status) << status.error().message;
  std::vector<float> x(16, 1.0f), y(3);
  const Activation input{DType::kF32, x.data(), 1, 16, nullptr};
  ASSERT_TRUE(linear(context, weights, input, y.data(), DType::kF32, 3));
  EXPECT_EQ(y, (std::vector<float>{15.0f, 40.0f, 65.0f}));
}

// A checkpoint whose linears are of these forms.
class FormSource : public CountingSource {
 public:
  StoredForm form(const std::string& name, int64_t) const override { return forms.at(name); }
  bool is_quantized() const override { return true; }
  std::map<std::string, StoredForm> forms;
};

// Int8 rows stay what they are; what their publisher left in floats, or multiplies in floats, is so
// here; one turned in another way than its neighbours is quantized again.
TEST(DescribeModules, FollowsTheFile) {
  const StoredForm turned{.encoding = Encoding::kInt8Rows, .rotation = Rotation::convrot(64)};
  const StoredForm plain{.encoding = Encoding::kInt8Rows};
  FormSource source;
  source.forms = {{"a", turned},
                  {"b", turned},
                  {"c", plain},
                  {"d", {}},
                  {"e", {.encoding = Encoding::kInt8Rows, .float_product = true}}};
  const Context context{.threads = 1, .cpu = host_cpu_features()};
  const auto describe = [&](std::vector<std::string> names, Precision precision) {
    const LayerSelection selection{.precision = precision, .keep_bf16 = {}};
    DescribeModules visitor(context, selection, &source);
    LinearWeights weights;
    const std::vector<int64_t> rows(names.size(), 16);
    EXPECT_TRUE(visitor.linear(
        {.names = std::move(names), .rows = rows, .k = 64, .quantized = true}, weights));
    return weights;
  };
  const LinearWeights both = describe({"a", "b"}, Precision::kInt8);
  EXPECT_EQ(both.kind, LinearKind::kS8);
  EXPECT_TRUE(both.as_stored);
  EXPECT_EQ(both.rotation, Rotation::convrot(64));
  const LinearWeights mixed = describe({"a", "c"}, Precision::kInt8);
  EXPECT_EQ(mixed.kind, LinearKind::kS8);
  EXPECT_FALSE(mixed.as_stored);
  EXPECT_FALSE(mixed.turns_columns());
  EXPECT_EQ(describe({"d"}, Precision::kInt8).kind, LinearKind::kBF16);
  EXPECT_EQ(describe({"d", "a"}, Precision::kInt8).kind, LinearKind::kS8);
  EXPECT_EQ(describe({"e"}, Precision::kInt8).kind, LinearKind::kBF16);
  EXPECT_EQ(describe({"e"}, Precision::kFp32).kind, LinearKind::kF32);
  EXPECT_FALSE(describe({"a"}, Precision::kInt8Dequant).as_stored);
  EXPECT_TRUE(describe({"c"}, Precision::kInt8Dequant).as_stored);
}

}  // namespace
}  // namespace intaglio
