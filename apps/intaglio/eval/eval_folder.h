// The folder of an evaluation: what is drawn in it, and what was measured of that.
//   plan.json               prompts with their seeds, size, source and candidates
//   NAME/00012.png          prompt 12 drawn by NAME
//   SOURCE/00012.latents    its final latents, F32 [tokens, channels]
//   measured.K-of-N.jsonl   a record a line, of shard K of N
//   judged.JUDGE.jsonl      what judges have read or seen in pictures (scripts/judge_*)
//   scored.NAME.jsonl       numbers of a network with the user's weights (eval/eval_score.h)
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"

namespace intaglio::cli {

struct EvalPrompt {
  std::string prompt;
  uint64_t seed = 0;
  // What the picture should show: "text", "object". An object; empty where nothing is said.
  nlohmann::json expect = nlohmann::json::object();
  bool operator==(const EvalPrompt&) const = default;
};

struct EvalPlan {
  std::vector<EvalPrompt> prompts;
  int64_t width = 0, height = 0;  // pixels
  int64_t traced = 0;             // prompts, from the first on
  // Name and text of each; the source is the first.
  std::vector<std::pair<std::string, std::string>> variants;
  // Of a candidate that computes fewer passes: the variant of plain steps that it is held against.
  std::map<std::string, std::string> baselines = {};
};

struct EvalShard {
  int64_t number = 0, count = 1;  // prompts i with i % count == number
  bool has(int64_t prompt) const { return prompt % count == number; }
};

// Kinds of records: "about" a variant, a "picture" of it, its "trace" of a prompt.
using Record = nlohmann::json;

class EvalFolder {
 public:
  // An evaluation that is there. kNotFound without a plan, kBadFormat for one that is none.
  static Expected<EvalFolder> open(const std::filesystem::path& folder);
  // The folder for `plan`: made, or one of a plan with the same prompts, size and source, whose
  // candidates stay beside the new ones. kInvalidArgument names what differs.
  static Expected<EvalFolder> make(const std::filesystem::path& folder, const EvalPlan& plan);

  const EvalPlan& plan() const { return plan_; }
  const std::filesystem::path& path() const { return folder_; }
  std::filesystem::path picture(const std::string& variant, int64_t prompt) const;
  std::filesystem::path latents(int64_t prompt) const;  // of the source

  // Every record of all shards; of equal ones the last. Lines that were cut off are passed over.
  Expected<std::vector<Record>> records() const;
  // Of one judge each.
  Expected<std::map<std::string, std::vector<Record>>> judgements() const;
  // Of one network each: "variant", "prompt", "score" and "weights", the hash of its weights.
  Expected<std::map<std::string, std::vector<Record>>> scores() const;
  // A line of the shard's file, written at once.
  Status append(const EvalShard& shard, const Record& record) const;
  // A line of scored.NAME.jsonl, likewise.
  Status append_score(const std::string& name, const Record& record) const;

 private:
  EvalFolder(std::filesystem::path folder, EvalPlan plan)
      : folder_(std::move(folder)), plan_(std::move(plan)) {}

  std::filesystem::path folder_;
  EvalPlan plan_;
};

// "kind/variant/index" of a record, by which it is found.
std::string record_key(std::string_view kind, std::string_view variant, int64_t prompt);
std::string record_key(const Record& record);

}  // namespace intaglio::cli
