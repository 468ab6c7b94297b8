#include "eval/picture_score.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "core/out_of_memory.h"
#include "eval/towers/clip_model.h"
#include "eval/towers/image_reward.h"
#include "eval/towers/lpips.h"

namespace intaglio {
namespace {

using towers::ClipModel;
using towers::ImageReward;
using towers::Lpips;

class LpipsScore : public PictureScore {
 public:
  explicit LpipsScore(Lpips lpips) : lpips_(std::move(lpips)) {}
  Expected<std::string> hash(const std::atomic<bool>* cancel) const override {
    return lpips_.hash(cancel);
  }
  bool of_pairs() const override { return true; }
  Expected<double> score(const std::string&, const RgbImage& picture,
                         const RgbImage* source) override {
    return lpips_.distance(*source, picture);
  }

 private:
  Lpips lpips_;
};

enum class ClipKind { kClipScore, kPickScore };

class ClipScore : public PictureScore {
 public:
  ClipScore(ClipModel model, ClipKind kind) : model_(std::move(model)), kind_(kind) {}
  Expected<std::string> hash(const std::atomic<bool>* cancel) const override {
    return model_.hash(cancel);
  }
  Expected<double> score(const std::string& prompt, const RgbImage& picture,
                         const RgbImage*) override {
    INTAGLIO_ASSIGN(const std::vector<float>* const text, read(prompt));
    INTAGLIO_ASSIGN(const std::vector<float> image, model_.image_embedding(picture));
    const double cosine = towers::dot(*text, towers::unit(image));
    return kind_ == ClipKind::kPickScore ? model_.scale() * cosine
                                         : kPerCosine * std::max(cosine, 0.0);
  }

 private:
  static constexpr double kPerCosine = 100.0;

  // A prompt is read once for all its pictures.
  Expected<const std::vector<float>*> read(const std::string& prompt) {
    auto known = texts_.find(prompt);
    if (known == texts_.end()) {
      INTAGLIO_ASSIGN(const std::vector<float> text, model_.text_embedding(prompt));
      known = texts_.emplace(prompt, towers::unit(text)).first;
    }
    return &known->second;
  }

  ClipModel model_;
  ClipKind kind_;
  std::map<std::string, std::vector<float>> texts_;  // of length 1, by prompt
};

class RewardScore : public PictureScore {
 public:
  explicit RewardScore(ImageReward model) : model_(std::move(model)) {}
  Expected<std::string> hash(const std::atomic<bool>* cancel) const override {
    return model_.hash(cancel);
  }
  Expected<double> score(const std::string& prompt, const RgbImage& picture,
                         const RgbImage*) override {
    return model_.reward(prompt, picture);
  }

 private:
  ImageReward model_;
};

using Opened = Expected<std::unique_ptr<PictureScore>>;

Opened open_clip(const Context& host, const std::filesystem::path& folder, ClipKind kind) {
  return guard_memory("reading a judge's weights", [&]() -> Opened {
    INTAGLIO_ASSIGN(ClipModel model, ClipModel::open(host, folder));
    return std::make_unique<ClipScore>(std::move(model), kind);
  });
}

}  // namespace

Opened open_lpips(const Context& host, std::span<const std::filesystem::path> files) {
  return guard_memory("reading a judge's weights", [&]() -> Opened {
    INTAGLIO_ASSIGN(Lpips lpips, Lpips::open(host, files));
    return std::make_unique<LpipsScore>(std::move(lpips));
  });
}

Opened open_clip_score(const Context& host, const std::filesystem::path& folder) {
  return open_clip(host, folder, ClipKind::kClipScore);
}

Opened open_pick_score(const Context& host, const std::filesystem::path& folder) {
  return open_clip(host, folder, ClipKind::kPickScore);
}

Opened open_image_reward(const Context& host, const std::filesystem::path& folder) {
  return guard_memory("reading a judge's weights", [&]() -> Opened {
    INTAGLIO_ASSIGN(ImageReward model, ImageReward::open(host, folder));
    return std::make_unique<RewardScore>(std::move(model));
  });
}

}  // namespace intaglio
