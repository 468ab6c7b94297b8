// What a candidate that computes fewer passes is held against: plain steps of as many passes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "eval/eval_folder.h"
#include "eval/variant.h"

namespace intaglio::cli {

// The candidate's arithmetic, files and adapters by the source's schedule, of so many steps that
// they compute about as many passes as the candidate. nullopt where the candidate's schedule, mask
// and half-size steps ask for no fewer passes than the source computes, and where they are such
// steps themselves. `model` as in parse_variant; `plan` has prompts and a size.
Expected<std::optional<Variant>> steps_baseline(const EvalPlan& plan, const Variant& source,
                                                const Variant& candidate, const std::string& model);

// Adds the baseline of each candidate, where no variant draws the same already, and notes in `plan`
// whose it is. The first variant is the source.
Status add_baselines(const std::string& model, EvalPlan& plan, std::vector<Variant>& variants);

}  // namespace intaglio::cli
