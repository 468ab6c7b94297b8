// What is asked of the products of a transformer's attention.
#pragma once

#include <optional>

#include "ops/attention.h"

namespace intaglio {

struct AttentionChoice {
  // nullopt: int8 where the precision is int8 and the device has kernels for it.
  std::optional<AttentionScores> scores{};
  AttentionValues values = AttentionValues::kFloat;  // kS8 with kS8 scores alone

  // kUnsupported where int8 is asked for and no kernel of the device has it.
  Status check_device(const Context& context) const;
};

}  // namespace intaglio
