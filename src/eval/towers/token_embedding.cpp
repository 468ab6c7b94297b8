#include "eval/towers/token_embedding.h"

namespace intaglio::towers {

Expected<Matrix> embed_tokens(const TokenTables& tables, std::span<const int32_t> ids) {
  const auto count = static_cast<int64_t>(ids.size());
  if (count < 1 || count > tables.max_tokens)
    return make_error(ErrorCode::kInvalidArgument, "a text of {} tokens, expected 1 to {}", count,
                      tables.max_tokens);
  const int64_t width = tables.width;
  Matrix h = Matrix::zeros(count, width);
  for (int64_t t = 0; t < count; ++t) {
    const int64_t id = ids[static_cast<size_t>(t)];
    if (id < 0 || id >= tables.vocab)
      return make_error(ErrorCode::kInvalidArgument, "the token {}, expected 0 to {}", id,
                        tables.vocab - 1);
    for (int64_t c = 0; c < width; ++c)
      h.row(t)[c] = tables.tokens[static_cast<size_t>(id * width + c)] +
                    tables.positions[static_cast<size_t>(t * width + c)];
  }
  return h;
}

}  // namespace intaglio::towers
