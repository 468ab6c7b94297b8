#include "models/init_picture.h"

#include <algorithm>

#include "models/model.h"

namespace intaglio {

Status check_init_picture(const InitPicture& init, int64_t width, int64_t height) {
  const auto pixels = static_cast<size_t>(width * height);
  if (init.image.width != width || init.image.height != height ||
      init.image.pixels.size() != 3 * pixels)
    return make_error(ErrorCode::kInvalidArgument,
                      "init picture: {}x{} with {} values, expected {}x{}, RGB", init.image.width,
                      init.image.height, init.image.pixels.size(), width, height);
  if (!init.mask.empty() && init.mask.size() != pixels)
    return make_error(ErrorCode::kInvalidArgument, "mask: {} pixels, expected {}x{} = {}",
                      init.mask.size(), width, height, pixels);
  if (!(init.strength > 0.0 && init.strength <= 1.0))
    return make_error(ErrorCode::kInvalidArgument, "strength {}: expected above 0 to 1",
                      init.strength);
  return {};
}

int64_t skipped_steps(double strength, int64_t steps) {
  const auto all = static_cast<double>(steps);
  const double run = std::min(all * strength, all);
  return std::min(static_cast<int64_t>(std::max(all - run, 0.0)), steps - 1);
}

void skip_steps(int64_t count, Sampling& sampling) {
  sampling.skipped_steps = count;
  if (count == 0) return;
  sampling.steps.erase(sampling.steps.begin(), sampling.steps.begin() + count);
  if (!sampling.mask) return;
  for (size_t pass = 0; pass < sampling.mask->passes.size(); ++pass) {
    std::vector<PassWork>& work = sampling.mask->passes[pass];
    work.erase(work.begin(), work.begin() + count);
    const std::vector<size_t> steps = active_steps(sampling, pass);
    if (!steps.empty()) work[steps.front()] = PassWork::kCompute;
  }
}

std::vector<float> mean_mask(const InitPicture& init, int64_t side) {
  if (init.mask.empty()) return {};
  const int64_t width = init.image.width, columns = width / side;
  std::vector<float> means(static_cast<size_t>(init.image.height / side * columns));
  for (int64_t i = 0; i < static_cast<int64_t>(means.size()); ++i) {
    int64_t sum = 0;
    for (int64_t y = 0; y < side; ++y) {
      const int64_t first = (i / columns * side + y) * width + i % columns * side;
      for (int64_t x = 0; x < side; ++x) sum += init.mask[static_cast<size_t>(first + x)];
    }
    means[static_cast<size_t>(i)] =
        static_cast<float>(static_cast<double>(sum) / static_cast<double>(255 * side * side));
  }
  return means;
}

void keep_given_pixels(const InitPicture& init, RgbImage& image, std::vector<float>& planar) {
  if (init.mask.empty()) return;
  const size_t pixels = init.mask.size();
  for (size_t p = 0; p < pixels; ++p) {
    const int drawn = init.mask[p];
    const float share = static_cast<float>(drawn) / 255.0f;
    for (size_t c = 0; c < 3; ++c) {
      const int given = init.image.pixels[3 * p + c];
      uint8_t& level = image.pixels[3 * p + c];
      level = static_cast<uint8_t>((drawn * level + (255 - drawn) * given + 127) / 255);
      float& value = planar[c * pixels + p];
      value = share * value + (1.0f - share) * (static_cast<float>(given) / 255.0f);
    }
  }
}

}  // namespace intaglio
