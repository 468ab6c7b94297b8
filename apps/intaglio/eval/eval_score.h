// Scores of the pictures of an evaluation by networks with the user's own weights
// (eval/picture_score.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.h"
#include "core/status.h"
#include "eval/eval_folder.h"
#include "progress.h"

namespace intaglio::cli {

struct ScoreFiles {
  std::vector<std::string> lpips;             // none, or one or two files
  std::string clip, pickscore, image_reward;  // folders or hub names; empty: none
  bool any() const;
};

// "LPIPS" of "lpips": how people write the name of a file scored.NAME.jsonl; others as they are.
std::string score_title(std::string_view name);

// Scores every picture that is drawn and has no score by these weights yet. Each is kept at once,
// so that the same call goes on where one was stopped. `host`: a context of the CPU, whose `cancel`
// ends it with kCancelled. Returns how many were scored.
Expected<int64_t> score_pictures(const EvalFolder& folder, const ScoreFiles& files,
                                 const Context& host, Progress& progress);

}  // namespace intaglio::cli
