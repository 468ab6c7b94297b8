// Judges that are networks with the user's own weights: a number for a picture and its prompt, or
// for a picture and the source's.
#pragma once

#include <atomic>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "core/context.h"
#include "core/status.h"
#include "io/png.h"

namespace intaglio {

class PictureScore {
 public:
  virtual ~PictureScore() = default;

  // Of the weights: 16 hexadecimal digits. kCancelled.
  virtual Expected<std::string> hash(const std::atomic<bool>* cancel) const = 0;
  // Whether it compares with the source's picture; else it reads the prompt.
  virtual bool of_pairs() const { return false; }
  // `source` is not null where of_pairs(). kInvalidArgument for pictures it cannot judge;
  // kCancelled.
  virtual Expected<double> score(const std::string& prompt, const RgbImage& picture,
                                 const RgbImage* source) = 0;
};

// `host`: a context of the CPU. All compute in float32.

// LPIPS (eval/towers/lpips.h), from 0 for equal pictures on; one or two safetensors files.
Expected<std::unique_ptr<PictureScore>> open_lpips(const Context& host,
                                                   std::span<const std::filesystem::path> files);
// CLIPScore (Hessel et al., "CLIPScore: A Reference-free Evaluation Metric for Image Captioning",
// 2021) as text-to-image papers count it: 100 max(cosine of the two embeddings, 0). The paper's own
// has 2.5 in place of 100 and "A photo depicts" before the text. A folder as
// eval/towers/clip_model.h reads it.
Expected<std::unique_ptr<PictureScore>> open_clip_score(const Context& host,
                                                        const std::filesystem::path& folder);
// PickScore (Kirstain et al., "Pick-a-Pic: An Open Dataset of User Preferences for Text-to-Image
// Generation", 2023): e^logit_scale times the cosine. A folder likewise.
Expected<std::unique_ptr<PictureScore>> open_pick_score(const Context& host,
                                                        const std::filesystem::path& folder);
// ImageReward (eval/towers/image_reward.h), about -2 to 2.
Expected<std::unique_ptr<PictureScore>> open_image_reward(const Context& host,
                                                          const std::filesystem::path& folder);

}  // namespace intaglio
