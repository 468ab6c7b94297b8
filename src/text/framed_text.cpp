#include "text/framed_text.h"

#include <algorithm>
#include <optional>

#include "text/unicode.h"

namespace intaglio {

Expected<std::vector<int32_t>> encode_framed(
    const AddedTokenFinder& special, FrameTokens frame, std::string_view text, size_t max_tokens,
    const std::function<void(std::string_view, std::vector<int32_t>&)>& encode) {
  if (const std::optional<size_t> at = find_invalid_utf8(text))
    return make_error(ErrorCode::kInvalidArgument, "the text is not UTF-8 at byte {}", *at);
  std::vector<int32_t> ids{frame.first};
  for (size_t at = 0; at < text.size();) {
    const AddedTokenFinder::Match match = special.find(text, at);
    const size_t end = std::min(match.begin, text.size());
    encode(text.substr(at, end - at), ids);
    if (match.begin == AddedTokenFinder::kNotFound) break;
    ids.push_back(static_cast<int32_t>(match.value));
    at = match.end;
  }
  ids.resize(std::min(ids.size(), std::max<size_t>(max_tokens, 2) - 1));
  ids.push_back(frame.last);
  return ids;
}

}  // namespace intaglio
