// What CLIP's and BERT's tokenizers do alike: a first token, the text around special tokens, cut to
// a length, a last token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "text/added_tokens.h"

namespace intaglio {

struct FrameTokens {
  int32_t first = 0, last = 0;
};

// At most `max_tokens` ids, at least the two of the frame. `encode` appends those of a piece of
// `text` without special tokens; the values of `special` are ids. kInvalidArgument unless it is
// UTF-8.
Expected<std::vector<int32_t>> encode_framed(
    const AddedTokenFinder& special, FrameTokens frame, std::string_view text, size_t max_tokens,
    const std::function<void(std::string_view, std::vector<int32_t>&)>& encode);

}  // namespace intaglio
