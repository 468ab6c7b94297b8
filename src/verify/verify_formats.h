// Comparison of checkpoints in the formats of other programs with what those programs make of them:
// folders laid out like tests/formats (its README.md).
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "verify/verify.h"

namespace intaglio {

// Whether `folder` has an expected.safetensors, or folders with one.
bool has_format_cases(const std::filesystem::path& folder);

// Two results a linear: its weights (stage "weights", the largest difference over the largest
// weight) and its products ("products", the same). Calls `report` after each. A file that cannot be
// read is a failure, not an error.
Expected<std::vector<VerifyResult>> verify_formats(
    const std::filesystem::path& folder, const VerifyOptions& options,
    const std::function<void(const VerifyResult&)>& report);

}  // namespace intaglio
