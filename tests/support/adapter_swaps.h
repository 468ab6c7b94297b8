// Adapters that take each other's place in a pipeline: every picture is that of a pipeline opened
// with them, bit for bit.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/safetensors.h"
#include "models/synthetic_adapter.h"
#include "pipeline/pipeline.h"
#include "support/temp_folder.h"

namespace intaglio::test {

class AdapterSwaps {
 public:
  AdapterSwaps(std::shared_ptr<const Model> model, PipelineOptions options, PictureRequest request)
      : model_(std::move(model)), options_(std::move(options)), request_(std::move(request)) {}

  AdapterUse low_rank(const std::string& name, const SyntheticAdapter& adapter,
                      float strength = 1.0f) {
    const auto path = folder_ / (name + ".safetensors");
    const Status written = write_synthetic_adapter(*model_, adapter, path);
    EXPECT_TRUE(written) << written.error().message;
    return {AdapterFile::open(path).value(), strength};
  }
  // A difference of the first block's "feed_forward.w2", which is merged.
  AdapterUse difference(const std::string& name, float value, float strength = 1.0f) {
    const auto transformer = model_->transformer(0, {});
    const std::string weight = "layers.0.feed_forward.w2.weight";
    for (const auto& [tensor, shape] : transformer->tensor_shapes()) {
      if (tensor != weight) continue;
      std::vector<float> values(static_cast<size_t>(shape.count()));
      for (size_t i = 0; i < values.size(); ++i) values[i] = i % 3 == 0 ? value : -value;
      const std::vector<TensorEntry> entries{
          {"transformer.layers.0.feed_forward.w2.diff", {values.data(), DType::kF32, shape}}};
      EXPECT_TRUE(write_safetensors(folder_ / (name + ".safetensors"), entries));
    }
    return {AdapterFile::open(folder_ / (name + ".safetensors")).value(), strength};
  }

  std::unique_ptr<Pipeline> open(const std::vector<AdapterUse>& adapters) const {
    PipelineOptions options = options_;
    options.adapters = adapters;
    return Pipeline::open(model_, options).value();
  }
  std::vector<float> latents(Pipeline& pipeline) const {
    const auto picture = pipeline.generate(request_, {}, nullptr);
    EXPECT_TRUE(picture) << picture.error().message;
    return picture ? picture->latents : std::vector<float>();
  }
  std::vector<float> fresh(const std::vector<AdapterUse>& adapters) const {
    return latents(*open(adapters));
  }
  // One pipeline draws with each set in turn.
  void expect_each(const std::vector<std::vector<AdapterUse>>& sets) const {
    const auto pipeline = open(sets.front());
    std::vector<float> last;
    for (size_t i = 0; i < sets.size(); ++i) {
      SCOPED_TRACE(fmt::format("set {}", i));
      const Status set = pipeline->set_adapters(sets[i]);
      ASSERT_TRUE(set) << set.error().message;
      const std::vector<float> drawn = latents(*pipeline);
      EXPECT_EQ(drawn, fresh(sets[i]));
      EXPECT_NE(drawn, last);                // or it has changed nothing
      EXPECT_EQ(drawn, latents(*pipeline));  // again, from recorded passes where there are any
      last = drawn;
    }
  }
  const PictureRequest& request() const { return request_; }

 private:
  std::shared_ptr<const Model> model_;
  PipelineOptions options_;
  PictureRequest request_;
  TempFolder folder_;
};

}  // namespace intaglio::test
