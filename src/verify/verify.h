// Comparison with reference tensors: every case of a directory laid out like the published code's
// reference (docs/numerics.md).
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "models/model_files.h"
#include "models/parts/selection.h"

namespace intaglio {

enum class Verdict { kPass, kFail, kSkipped };

struct VerifyResult {
  // tokenizer, text_features, schedule, transformer, vae_decode, vae_encode, pipeline; of
  // checkpoints of other formats weights, products
  std::string stage;
  std::string name;  // the case, e.g. "transformer_small_0 velocity"
  // ||a - b|| / ||b||; for the schedule the largest absolute difference; for the tokenizer the
  // number of wrong texts; for weights and products the largest difference over the largest number
  double error = 0.0;
  double tolerance = 0.0;
  Verdict verdict = Verdict::kFail;
  std::string detail;  // why, when it failed to run or was skipped
};

struct VerifyOptions {
  LayerSelection selection;
  std::optional<int> gpu{};  // ordinal; nullopt: the CPU
  int threads = 0;
  // Not empty: what each case computed is kept in this folder as <case>.<tensor>.f32, plain
  // float32.
  std::filesystem::path tensors_out{};
  const std::atomic<bool>* cancel = nullptr;  // once set, the call ends with kCancelled
  ModelPaths parts{};  // in place of the checkpoint's own; the folder is set here
};

// Compares checkpoints of other formats with their expected numbers (verify/verify_formats.h), if
// `folder` has any. Else runs the cases of `folder`/cases against the checkpoint `folder`/tiny (or
// `folder` itself if it holds model_index.json, or the one other subfolder that does) and the
// single transformers `folder`/<name>_transformer. Calls `report` after each; returns all. A case
// that cannot run is a failure, not an error.
Expected<std::vector<VerifyResult>> verify_directory(
    const std::filesystem::path& folder, const VerifyOptions& options,
    const std::function<void(const VerifyResult&)>& report);

}  // namespace intaglio
