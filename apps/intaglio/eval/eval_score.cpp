#include "eval/eval_score.h"

#include <array>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <utility>

#include "eval/picture_score.h"
#include "io/hub_cache.h"

namespace intaglio::cli {
namespace {

using Opened = Expected<std::unique_ptr<PictureScore>>;

constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kTitles{
    {{"lpips", "LPIPS"},
     {"clip", "CLIPScore"},
     {"pickscore", "PickScore"},
     {"image_reward", "ImageReward"}}};

struct Judge {
  std::string name;
  std::function<Opened()> open;
};

// A folder, or the name of one in the hub's cache.
Expected<std::filesystem::path> folder_of(const std::string& text) {
  if (!std::filesystem::exists(text) && is_hub_name(text)) return find_in_hub_cache(text);
  return std::filesystem::path(text);
}

// `open` of the folder that is asked for.
template <typename Open>
Judge folder_judge(std::string name, const std::string& text, const Context& host, Open open) {
  return {std::move(name), [&text, &host, open]() -> Opened {
            INTAGLIO_ASSIGN(const std::filesystem::path folder, folder_of(text));
            return open(host, folder);
          }};
}

std::vector<Judge> judges_of(const ScoreFiles& files, const Context& host) {
  std::vector<Judge> judges;
  if (!files.lpips.empty())
    judges.push_back({"lpips", [&] {
                        const std::vector<std::filesystem::path> paths(files.lpips.begin(),
                                                                       files.lpips.end());
                        return open_lpips(host, paths);
                      }});
  if (!files.clip.empty())
    judges.push_back(folder_judge("clip", files.clip, host, open_clip_score));
  if (!files.pickscore.empty())
    judges.push_back(folder_judge("pickscore", files.pickscore, host, open_pick_score));
  if (!files.image_reward.empty())
    judges.push_back(folder_judge("image_reward", files.image_reward, host, open_image_reward));
  return judges;
}

class Scoring {
 public:
  Scoring(const EvalFolder& folder, const std::vector<Record>& records, Progress& progress)
      : folder_(folder), progress_(progress) {
    for (const Record& record : records)
      if (record.value("kind", "") == "picture")
        drawn_.emplace(record.value("variant", ""), record.value("prompt", int64_t{-1}));
  }

  Expected<int64_t> run(const Judge& judge, const std::vector<Record>& before,
                        const Context& host) {
    progress_.phase(score_title(judge.name) + ": reading its weights");
    INTAGLIO_ASSIGN(const std::unique_ptr<PictureScore> score, judge.open());
    INTAGLIO_ASSIGN(const std::string weights, score->hash(host.cancel));
    const std::vector<Picture> missing = pictures_without(before, weights, score->of_pairs());
    int64_t done = 0;
    for (const Picture& picture : missing) {
      progress_.step(score_title(judge.name), done++, static_cast<int64_t>(missing.size()));
      INTAGLIO_ASSIGN(const double value, scored(*score, picture));
      INTAGLIO_TRY(folder_.append_score(judge.name, {{"variant", picture.first},
                                                     {"prompt", picture.second},
                                                     {"score", value},
                                                     {"weights", weights}}));
    }
    progress_.clear();
    return done;
  }

 private:
  using Picture = std::pair<std::string, int64_t>;  // variant and prompt

  const std::string& source() const { return folder_.plan().variants.front().first; }

  // In the order of the plan.
  std::vector<Picture> pictures_without(const std::vector<Record>& before,
                                        const std::string& weights, bool of_pairs) const {
    std::set<Picture> known;
    for (const Record& line : before)
      if (line.value("weights", "") == weights && line.contains("score"))
        known.emplace(line.value("variant", ""), line.value("prompt", int64_t{-1}));
    std::vector<Picture> missing;
    for (const auto& [variant, text] : folder_.plan().variants)
      for (int64_t i = 0; i < static_cast<int64_t>(folder_.plan().prompts.size()); ++i) {
        const bool wanted = !of_pairs || (variant != source() && drawn_.contains({source(), i}));
        if (wanted && drawn_.contains({variant, i}) && !known.contains({variant, i}))
          missing.emplace_back(variant, i);
      }
    return missing;
  }

  Expected<double> scored(PictureScore& score, const Picture& which) const {
    const auto& [variant, prompt] = which;
    INTAGLIO_ASSIGN(const auto picture, read_png(folder_.picture(variant, prompt)));
    std::pair<RgbImage, PngText> base;
    if (score.of_pairs()) {
      INTAGLIO_ASSIGN(base, read_png(folder_.picture(source(), prompt)));
    }
    auto value = score.score(folder_.plan().prompts[static_cast<size_t>(prompt)].prompt,
                             picture.first, score.of_pairs() ? &base.first : nullptr);
    if (value || value.error().code == ErrorCode::kCancelled) return value;
    return make_error(value.error().code, "{}: {}", folder_.picture(variant, prompt).string(),
                      value.error().message);
  }

  const EvalFolder& folder_;
  Progress& progress_;
  std::set<Picture> drawn_;
};

}  // namespace

bool ScoreFiles::any() const {
  return !lpips.empty() || !clip.empty() || !pickscore.empty() || !image_reward.empty();
}

std::string score_title(std::string_view name) {
  for (const auto& [known, title] : kTitles)
    if (name == known) return std::string(title);
  return std::string(name);
}

Expected<int64_t> score_pictures(const EvalFolder& folder, const ScoreFiles& files,
                                 const Context& host, Progress& progress) {
  INTAGLIO_ASSIGN(const std::vector<Record> records, folder.records());
  INTAGLIO_ASSIGN(const auto before, folder.scores());
  Scoring scoring(folder, records, progress);
  int64_t count = 0;
  for (const Judge& judge : judges_of(files, host)) {
    const auto lines = before.find(judge.name);
    INTAGLIO_ASSIGN(
        const int64_t scored,
        scoring.run(judge, lines == before.end() ? std::vector<Record>() : lines->second, host));
    count += scored;
  }
  return count;
}

}  // namespace intaglio::cli
