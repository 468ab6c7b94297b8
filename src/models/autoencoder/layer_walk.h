// A forward pass through the layers of an autoencoder's half; inside this folder only. One walk
// serves the plan and the run: without a context it only notes what memory each layer takes, so the
// plan is exact by construction.
#pragma once

#include <array>
#include <functional>
#include <optional>

#include "core/context.h"
#include "core/pace.h"
#include "core/profile.h"
#include "models/autoencoder/decoder.h"
#include "models/autoencoder/layers.h"
#include "ops/float_gemm.h"

namespace intaglio::autoencoder {

// A part of planes [channels, height, width], host memory.
struct PlaneWindow {
  const float* planes = nullptr;
  int64_t height = 0, width = 0, first_row = 0, first_column = 0;
  float at(int64_t c, int64_t y, int64_t x) const {
    return planes[(c * height + first_row + y) * width + first_column + x];
  }
};

class LayerWalk {
 public:
  // What memory a walk takes.
  struct Plan {
    std::array<size_t, 3> slots{};
    size_t scratch = 0;  // of the layer that takes most
    int64_t steps = 0;

    size_t bytes() const;
  };

  // `channels`: of the planes that it reads.
  LayerWalk(const Context& context, const DecoderConfig& config, DType compute, int64_t channels)
      : config_(config), compute_(compute), context_(context), channels_(channels) {}
  virtual ~LayerWalk() = default;
  LayerWalk(const LayerWalk&) = delete;
  LayerWalk& operator=(const LayerWalk&) = delete;

  // Of a window of h x w.
  Expected<Plan> plan(int64_t h, int64_t w);
  // Returns [pixels, channels] floats in the arena, valid while the caller's scope lasts.
  Expected<const float*> run(const Plan& plan, const PlaneWindow& window, int64_t h, int64_t w,
                             const std::function<void()>& step, Profile* profile);

 protected:
  // The layers, the first of which reads the current slot.
  virtual Status walk_layers() = 0;

  const DecoderConfig& config() const { return config_; }
  // conv from the current slot into the next.
  Status move(const Conv2dWeights& conv, bool f32_out = false);
  // The same through a nearest x2 upsampling.
  Status move_up(const Conv2dWeights& conv);
  // The same in every second pixel of every second row, a zero row below and a zero column on the
  // right of the picture: y[oy, ox] = sum x[2 oy + dy, 2 ox + dx] w[dy, dx].
  Status move_down(const Conv2dWeights& conv);
  Status resnet(const Resnet& r);
  Status mid_block(const MidBlock& mid);
  // norm, SiLU and conv.
  Status finish(const Norm& norm, const Conv2dWeights& conv, bool f32_out);
  // Between blocks of layers: progress, and the caller's wish to stop.
  Status finish_step();

 private:
  int64_t pixels() const { return h_ * w_; }
  // The slot that is neither of the two.
  static size_t other(size_t a, size_t b) { return 3 - a - b; }

  // `count` elements of slot `slot` are about to be written.
  void need(size_t slot, int64_t count, DType dtype);
  void need_scratch(size_t bytes);
  Status forward(const PlaneWindow* window, int64_t h, int64_t w);
  Status read_planes(const PlaneWindow& window);
  Status convolve(const Conv2dWeights& conv, size_t x, std::optional<size_t> add, size_t y,
                  bool f32_out = false);
  Status normalize(const Norm& norm, int64_t channels, bool silu, size_t x, size_t y);
  // One product of the attention with the float_gemm op; notes its scratch.
  Status multiply(const FloatGemmDesc& desc, const FloatGemmArgs& args, size_t& scratch);
  // h += out(softmax(q k^T / sqrt(c)) v), one head, blocks of rows. v is computed transposed (what
  // the second product reads); its bias passes through the softmax unchanged, since rows sum to 1,
  // and joins the second product.
  Status attention(const Attention& a);

  const DecoderConfig& config_;
  DType compute_;
  const Context& context_;
  int64_t channels_;
  bool running_ = false;
  const std::function<void()>* step_ = nullptr;
  std::optional<Pace> pace_;  // of the tile at work
  Profile* profile_ = nullptr;
  Plan plan_;
  std::array<std::byte*, 3> slots_{};
  size_t current_ = 0;
  int64_t h_ = 0, w_ = 0;
};

}  // namespace intaglio::autoencoder
