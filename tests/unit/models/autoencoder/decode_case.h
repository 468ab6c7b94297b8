// What the tests of autoencoders share: pictures of the published code, and decoding and encoding
// that hold the plan to be exact.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "core/relative_error.h"
#include "io/safetensors.h"
#include "models/autoencoder/decoder.h"
#include "models/autoencoder/encoder.h"
#include "support/tested_cpus.h"

namespace intaglio::test {

struct DecodeCase {
  std::vector<float> latent, image;
  int64_t h = 0, w = 0;
};

// vae_decode_<index> of a reference set.
inline DecodeCase read_case(const std::filesystem::path& set, int index) {
  DecodeCase c;
  const auto file =
      SafetensorsFile::open(set / "cases" / fmt::format("vae_decode_{}.safetensors", index));
  if (!file) return c;
  const TensorEntry* latent = (*file)->find("latent");
  const TensorEntry* image = (*file)->find("image");
  c.h = latent->view.shape[1];
  c.w = latent->view.shape[2];
  c.latent = *read_floats(*latent);
  c.image = *read_floats(*image);
  return c;
}

// The reference level takes minutes.
inline std::vector<CpuFeatures> levels() {
  std::vector<CpuFeatures> list = tested_cpus();
  if (list.size() > 1) list.erase(list.begin());
  return list;
}

inline std::vector<float> decode(const autoencoder::Decoder& vae, Context context,
                                 const std::vector<float>& latent, int64_t h, int64_t w,
                                 const autoencoder::Decoder::Progress& progress = {}) {
  std::vector<float> image(
      static_cast<size_t>(3 * h * w * vae.config().scale_factor() * vae.config().scale_factor()),
      9.0f);
  auto arena = Arena::with_capacity(vae.scratch_bytes(context, h, w));
  if (!arena) return {};
  context.scratch = &*arena;
  const Status status = vae.decode(context, latent.data(), h, w, image.data(), progress);
  EXPECT_TRUE(status) << status.error().message;
  EXPECT_EQ(arena->used(), 0u);
  EXPECT_EQ(arena->peak(), arena->capacity()) << "the plan is not exact";
  return image;
}

inline std::vector<float> encode(const autoencoder::Encoder& vae, Context context,
                                 const std::vector<float>& image, int64_t h, int64_t w,
                                 const autoencoder::Encoder::Progress& progress = {}) {
  std::vector<float> latent(static_cast<size_t>(vae.config().latent_channels * h * w), 9.0f);
  auto arena = Arena::with_capacity(vae.scratch_bytes(context, h, w));
  if (!arena) return {};
  context.scratch = &*arena;
  const Status status = vae.encode(context, image.data(), h, w, latent.data(), progress);
  EXPECT_TRUE(status) << status.error().message;
  EXPECT_EQ(arena->used(), 0u);
  EXPECT_EQ(arena->peak(), arena->capacity()) << "the plan is not exact";
  return latent;
}

// Every level and type; most_f32 and most_bf16: the largest relative errors.
inline void expect_published_pictures(const std::filesystem::path& set, double most_f32,
                                      double most_bf16) {
  for (const CpuFeatures& cpu : levels()) {
    const Context context{.threads = 2, .cpu = cpu};
    for (const DType compute : {DType::kF32, DType::kBF16}) {
      const auto vae =
          autoencoder::Decoder::load(context, PartFiles::in(set / "tiny" / "vae"), compute);
      ASSERT_TRUE(vae) << vae.error().message;
      for (const int index : {0, 1}) {
        const DecodeCase c = read_case(set, index);
        ASSERT_FALSE(c.latent.empty());
        const double error = relative_error(decode(*vae, context, c.latent, c.h, c.w), c.image);
        const std::string name =
            fmt::format("{}_{}_{}", cpu_isa_name(cpu.isa), dtype_name(compute), index);
        if (std::getenv("INTAGLIO_PRINT_ERRORS") != nullptr) fmt::print("{} {:.2e}\n", name, error);
        testing::Test::RecordProperty(name, fmt::format("{:.2e}", error));
        EXPECT_LT(error, compute == DType::kF32 ? most_f32 : most_bf16) << name;
      }
    }
  }
}

}  // namespace intaglio::test
