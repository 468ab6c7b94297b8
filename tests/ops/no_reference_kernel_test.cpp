// Nothing falls off a cliff: at every level above the reference, on the host's features and on
// those of every other processor, each product and convolution has a kernel of its own at every
// size.
#include <gtest/gtest.h>

#include <string_view>

#include "bench/onednn_baseline.h"
#include "models/autoencoder/decoder.h"
#include "models/autoencoder/decoder_weights.h"
#include "ops/attention.h"
#include "ops/conv2d.h"
#include "ops/float_gemm.h"
#include "ops/s8_gemm.h"

namespace intaglio {
namespace {

struct Level {
  CpuIsa isa;
  bool avx512_bf16, fast_bf16_dot, amx_bf16;
  // What runs there.
  const char *bf16_conv2d, *bf16_gemm, *s8_gemm;
};

// Choosing only reads the features, so the choices of processors that are not here are seen too.
constexpr Level kLevels[] = {
    {CpuIsa::kAvx2, false, false, false, "avx2_f32_conv2d", "avx2_f32_gemm", "avx2_s8_gemm"},
    {CpuIsa::kAvx512Vnni, false, false, false, "avx512_f32_conv2d", "avx512_f32_gemm",
     "avx512vnni_s8_gemm"},
    {CpuIsa::kAvx512Vnni, true, false, false, "avx512_f32_conv2d", "avx512_f32_gemm",
     "avx512vnni_s8_gemm"},
    {CpuIsa::kAvx512Vnni, true, true, false, "avx512bf16_conv2d", "avx512bf16_gemm",
     "avx512vnni_s8_gemm"},
    {CpuIsa::kAmx, true, true, false, "avx512bf16_conv2d", "avx512bf16_gemm", "amx_s8_gemm"},
    {CpuIsa::kAmx, true, false, true, "amx_bf16_conv2d", "amx_bf16_gemm", "amx_s8_gemm"},
};

Context context_of(const Level& level) {
  Context context{.threads = 2, .cpu = {}};
  context.cpu.isa = level.isa;
  context.cpu.avx512_bf16 = level.avx512_bf16;
  context.cpu.fast_bf16_dot = level.fast_bf16_dot;
  context.cpu.amx_bf16 = level.amx_bf16;
  return context;
}

// The sizes of the decoder of this very model and of the bundled one, each layer prepared once and
// asked at pictures of 16 to 2048 pixels each way.
TEST(no_reference_kernel, one_preparation_of_the_decoder_serves_every_size) {
  autoencoder::DecoderConfig full{.latent_channels = 32, .widths = {128, 256, 512, 512}};
  full.layers_per_block = 2;
  full.norm_groups = 32;
  autoencoder::DecoderConfig mini{.latent_channels = 16, .widths = {32, 64, 128, 128}};
  mini.layers_per_block = 1;
  mini.norm_groups = 16;
  for (const Level& level : kLevels) {
    const Context context = context_of(level);
    for (const autoencoder::DecoderConfig& config : {full, mini}) {
      for (const DType compute : {DType::kF32, DType::kBF16}) {
        const auto weights = autoencoder::describe_decoder(context, config, compute);
        ASSERT_TRUE(weights) << weights.error().message;
        std::vector<const Conv2dWeights*> convolutions{&weights->conv_in, &weights->conv_out,
                                                       &*weights->post_quant,
                                                       &weights->mid.attention->q};
        for (const auto& resnet : weights->mid.resnets) convolutions.push_back(&resnet.conv1);
        for (const auto& block : weights->up) {
          for (const auto& resnet : block.resnets) {
            convolutions.insert(convolutions.end(), {&resnet.conv1, &resnet.conv2});
            if (resnet.shortcut) convolutions.push_back(&*resnet.shortcut);
          }
          if (block.upsampler) convolutions.push_back(&*block.upsampler);
        }
        for (const Conv2dWeights* conv : convolutions) {
          const std::string_view prepared = conv->implementation->name;
          if (compute == DType::kBF16) {
            EXPECT_EQ(prepared, level.bf16_conv2d);
          }
          EXPECT_NE(prepared, "ref_conv2d");
          for (const int64_t height : {2, 16, 256, 496, 512, 2048}) {
            for (const int64_t width : {2, 16, 254, 256, 496, 512, 768, 1024, 2048}) {
              const Conv2dDesc desc{.height = height,
                                    .width = width,
                                    .in_channels = conv->in_channels,
                                    .out_channels = conv->out_channels,
                                    .kernel = conv->kernel,
                                    .upsample = conv->upsample,
                                    .dtype = compute};
              EXPECT_EQ(conv->implementation->can_run(desc, context), nullptr)
                  << prepared << " " << width << "x" << height;
              // What would be chosen for this size alone is what was prepared for all.
              EXPECT_EQ(*choose_conv2d(desc, context), conv->implementation);
            }
          }
        }
      }
    }
  }
}

TEST(no_reference_kernel, products_of_every_shape) {
  for (const Level& level : kLevels) {
    const Context context = context_of(level);
    for (const int64_t m : {1, 2, 9, 17, 256, 4096}) {
      for (const int64_t n : {1, 3, 16, 64, 4608, 70000}) {
        for (const int64_t k : {1, 3, 4, 31, 64, 4608, 53248}) {
          for (const DType out : {DType::kF32, DType::kBF16}) {
            FloatGemmDesc desc{.m = m, .n = n, .k = k, .in_dtype = DType::kBF16, .out_dtype = out};
            EXPECT_STREQ((*choose_float_gemm(desc, context))->name, level.bf16_gemm);
            desc.in_dtype = DType::kF32;
            EXPECT_STRNE((*choose_float_gemm(desc, context))->name, "ref_float_gemm");
            EXPECT_STREQ(
                (*choose_s8_gemm({.m = m, .n = n, .k = k, .out_dtype = out}, context))->name,
                level.s8_gemm);
          }
        }
      }
    }
  }
}

// What benchmarks compare with is never a library's reference.
TEST(no_reference_kernel, names_of_onednn) {
  for (const char* name : {"ref:any", "ref", "ref_int8:any", "gemm:ref", "x8s8s32x_gemm:ref",
                           "simple:any", "simple_layer_normalization:any"})
    EXPECT_TRUE(cli::is_reference_kernel(name)) << name;
  for (const char* name : {"brgconv:avx512_core_amx_bf16", "brg:avx512_core_vnni", "gemm:jit",
                           "jit_bf16:avx512_core_bf16", "x64:gemm:jit", ""})
    EXPECT_FALSE(cli::is_reference_kernel(name)) << name;
}

}  // namespace
}  // namespace intaglio
