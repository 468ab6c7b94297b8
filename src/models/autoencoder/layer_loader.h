// Weights of an autoencoder's layers by their names; inside this folder only.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/context.h"
#include "models/autoencoder/decoder.h"
#include "models/autoencoder/layers.h"
#include "models/parts/weights.h"

namespace intaglio::autoencoder {

// What weights of these shapes take, prepared for a device.
uint64_t packed_bytes(const TensorShapes& shapes, DType compute);

// What either half is read from.
struct StoredAutoencoder {
  DecoderConfig config;
  std::shared_ptr<const Checkpoint> checkpoint;
};
// kInvalidArgument unless `compute` is kF32 or kBF16.
Expected<StoredAutoencoder> open_stored(const PartFiles& files, DType compute);

// kDeclare lists what is needed, so that all problems are found before the first tensor is
// prepared; kShapes needs no tensors.
class LayerLoader {
 public:
  enum class Mode { kShapes, kDeclare, kPrepare };

  LayerLoader(const Context& context, const DecoderConfig& config, DType compute, Mode mode,
              TensorSource* source = nullptr)
      : context_(context),
        config_(config),
        is_wan_(config.family == DecoderFamily::kWan),
        compute_(compute),
        mode_(mode),
        source_(source) {}

  const DecoderConfig& config() const { return config_; }
  bool is_wan() const { return is_wan_; }
  // What kDeclare has gathered.
  const TensorShapes& declared() const { return declared_; }

  Status load_statistics(LatentStatistics& statistics);
  Status load_norm(const std::string& name, int64_t channels, Norm& norm);
  // `kernel` x `kernel`; of kWan also in time.
  Status load_conv(const std::string& name, int64_t in, int64_t out, int64_t kernel,
                   Conv2dWeights& conv);
  // Of the picture alone in every family.
  Status load_conv2d(const std::string& name, int64_t in, int64_t out, int64_t kernel,
                     bool upsample, Conv2dWeights& conv);
  Status load_resnet(const std::string& name, int64_t in, int64_t out, Resnet& resnet);
  Status load_mid_block(const std::string& name, int64_t channels, MidBlock& mid);

 private:
  // Weight and bias of a linear over pixels, both or neither.
  struct PixelLinear {
    std::optional<Tensor> w, bias;

    // Rows [part * rows, (part + 1) * rows), as a convolution of kernel 1.
    std::optional<TensorView> rows_of(int64_t part, int64_t rows, int64_t channels) const;
    std::optional<TensorView> bias_of(int64_t part, int64_t rows) const;
  };

  // The tensor, if weights are being prepared now.
  Expected<std::optional<Tensor>> fetch(const std::string& name, const Shape& shape);
  Status fetch_floats(const std::string& name, const Shape& shape, std::vector<float>& out);
  // The same in memory of the device.
  Status fetch_vector(const std::string& name, const Shape& shape, AlignedBuffer& out);
  Expected<PixelLinear> fetch_linear(const std::string& name, int64_t rows, int64_t channels);
  // Of a causal convolution over frames, what meets the only frame: the last slice in time.
  Status load_conv3d(const std::string& name, int64_t in, int64_t out, int64_t kernel,
                     Conv2dWeights& conv);
  Status load_attention(const std::string& name, int64_t channels, Attention& attention);
  Status prepare_conv(const std::optional<TensorView>& w, const std::optional<TensorView>& bias,
                      const Conv2dDesc& desc, Conv2dWeights& conv);
  // Part `part` of a linear's rows.
  Status prepare_linear(const PixelLinear& linear, int64_t part, int64_t channels,
                        Conv2dWeights& conv);
  // v, which is multiplied from the left: as it is, in the compute type.
  Status prepare_values(const std::optional<TensorView>& w, const std::optional<TensorView>& bias,
                        Attention& attention);

  const Context& context_;
  const DecoderConfig& config_;
  bool is_wan_;
  DType compute_;
  Mode mode_;
  TensorSource* source_;
  TensorShapes declared_;
};

}  // namespace intaglio::autoencoder
