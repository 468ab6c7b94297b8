// Rows of token and position tables, summed: what both text towers begin with.
#pragma once

#include <cstdint>
#include <span>

#include "core/status.h"
#include "eval/towers/tower_math.h"

namespace intaglio::towers {

struct TokenTables {
  std::span<const float> tokens, positions;  // [vocab, width], [max_tokens, width]
  int64_t vocab = 0, max_tokens = 0, width = 0;
};

// [ids, width]. kInvalidArgument for no ids, too many, and one beyond the table.
Expected<Matrix> embed_tokens(const TokenTables& tables, std::span<const int32_t> ids);

}  // namespace intaglio::towers
