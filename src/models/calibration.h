// What the linears of a model read while it draws in floats: the figures that quantization is
// fitted to (models/smoothing.h, models/protection.h).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/context.h"
#include "core/status.h"
#include "models/model.h"

namespace intaglio {

struct CalibrationOptions {
  std::vector<std::string> prompts{};
  int64_t steps = 8;                  // of each picture
  int64_t width = 256, height = 256;  // in pixels
  int64_t rows = 128;                 // of each linear's input that are kept
  uint64_t seed = 1;                  // of the noise; picture i has seed + i
  Precision precision = Precision::kBf16;
};

// A linear, or several of the same input that run as one, and what it read.
struct CalibratedLinear {
  NamedLinear linear;         // `weights` is null: the model is gone
  std::vector<float> absmax;  // [k], of all rows
  std::vector<float> rows;    // [kept, k], drawn from all with equal chances
  int64_t kept = 0, seen = 0;
  // Relative error of the model's velocity over that of this linear's output, for small errors that
  // are independent of everything. 0 if it was not measured.
  double gain = 0.0;
};

struct Calibration {
  std::vector<std::vector<CalibratedLinear>> transformers;  // by their number, in the walk's order
};

// Called with passes done and all of them.
using CalibrationProgress = std::function<void(int64_t, int64_t)>;

// Draws a picture of each prompt in floats, on a CPU, without decoding it. In memory: the text
// encoder, then the transformers in floats, and `rows` inputs of each linear as F32. Equal options
// give equal numbers, whatever the threads. kInvalidArgument for no prompts, and for a size or a
// number of steps that the model cannot draw; kCancelled within a layer's time.
Expected<Calibration> calibrate(const Context& context, const Model& model,
                                const CalibrationOptions& options,
                                const CalibrationProgress& progress);

}  // namespace intaglio
