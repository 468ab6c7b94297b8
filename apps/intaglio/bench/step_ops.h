// What the parts of one pass of the transformer must do at least: operations, and bytes of device
// memory.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "advice/cost_model.h"
#include "core/profile.h"
#include "models/parts/selection.h"

namespace intaglio::cli {

struct PassSizes {
  PassShape shape;
  int64_t layers = 0;
  Precision precision = Precision::kInt8;
  bool s8_scores = false;
};

// One kind of op of a pass, all layers together.
struct OpTime {
  std::string name;  // "linear qkv", "attention"
  int64_t calls = 0;
  double time_ms = 0.0;
  double operations = 0.0;  // multiplications and additions of products; 0: bound by memory
  double bytes = 0.0;       // each input read and each output written once; 0: not counted
};

// The spans of a profile by kind, in the order in which they first ran, with what each kind has to
// do.
std::vector<OpTime> op_times(const Profile& profile, const PassSizes& sizes);

// Operations of all products and of attention in one pass.
double pass_operations(const PassSizes& sizes);

// The spans as a Chrome trace ("traceEvents", microseconds).
std::string chrome_trace(const Profile& profile);

}  // namespace intaglio::cli
