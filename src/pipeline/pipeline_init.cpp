// What a pipeline's picture takes from the picture that it begins from.
#include "core/memory.h"
#include "pipeline/pipeline_impl.h"

namespace intaglio {
namespace {

// [3, height, width] in [-1, 1], as the encoder reads it.
std::vector<float> planes_of(const RgbImage& image) {
  const auto pixels = static_cast<size_t>(image.width * image.height);
  std::vector<float> planes(3 * pixels);
  for (size_t p = 0; p < pixels; ++p)
    for (size_t c = 0; c < 3; ++c)
      planes[c * pixels + p] = static_cast<float>(image.pixels[3 * p + c]) / 255.0f * 2.0f - 1.0f;
  return planes;
}

}  // namespace

// The encoder is needed for this alone and goes afterwards.
Expected<std::vector<float>> Pipeline::Impl::encode_picture(const RgbImage& image,
                                                            const ProgressCallback& progress) {
  INTAGLIO_ASSIGN(const autoencoder::Encoder encoder, model->load_encoder(context, vae_dtype()));
  const int64_t scale = encoder.config().scale_factor();
  const int64_t h = image.height / scale, w = image.width / scale;
  INTAGLIO_TRY(reserve(encoder.scratch_bytes(context, h, w)));
  std::vector<float> latent(static_cast<size_t>(encoder.config().latent_channels * h * w));
  INTAGLIO_TRY(encoder.encode(context, planes_of(image).data(), h, w, latent.data(),
                              [&](int64_t done, int64_t total) {
                                if (progress) progress({Phase::kEncode, done, total});
                              }));
  std::vector<float> latents(latent.size());
  INTAGLIO_TRY(encoder.pack_and_normalize(latent.data(), h / 2, w / 2, latents.data()));
  return latents;
}

// `picture.latents` is the noise, and becomes what the first step begins with.
Status Pipeline::Impl::begin_from_init(const PicturePlan& plan, Picture& picture,
                                       std::vector<float> clean) {
  const InitPicture& given = *plan.request.init;
  init.emplace(InitLatents::Parts{.clean = std::move(clean),
                                  .noise = std::move(picture.latents),
                                  .mask = mean_mask(given, model->vae_config().scale_factor()),
                                  .grid_w = plan.grid_w,
                                  .packing = model->vae_config().packing});
  picture.latents = init->at(plan.sampling.noise_level(0));
  return {};
}

Status Pipeline::Impl::keep_given_latents(const PicturePlan& plan, int64_t step) {
  if (!init || !init->is_masked()) return {};
  std::vector<float> latents(static_cast<size_t>(plan.image_tokens() * info().latent_channels));
  INTAGLIO_TRY(sampler.get_latents(context, latents));
  init->keep_given(plan.noise_level_behind(step), latents);
  return sampler.set_latents(context, latents);
}

}  // namespace intaglio
