// What a variant draws of one prompt of an evaluation.
#pragma once

#include <cstdint>

#include "core/status.h"
#include "eval/eval_folder.h"
#include "eval/variant.h"
#include "models/choose_picture.h"

namespace intaglio::cli {

// kInvalidArgument, with the variant's name, for settings that its model cannot serve.
Expected<ChosenPicture> eval_picture(const EvalPlan& plan, const Variant& variant,
                                     const Model& model, int64_t prompt);

// Passes that a picture computes, of all its steps: those without a weight and those that its mask
// predicts are none, one that it reuses counts as its first blocks, one at half size as its share
// of the rows.
Expected<double> picture_passes(const Model& model, const PictureRequest& request);

}  // namespace intaglio::cli
