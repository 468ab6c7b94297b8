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

}  // namespace
}  // namespace intaglio
