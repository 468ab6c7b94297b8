#include "models/qwen3/chat.h"

#include <fmt/format.h>

#include <algorithm>

#include "models/qwen3/config.h"
#include "text/unicode.h"

namespace intaglio::qwen3 {

std::string ChatForm::around(std::string_view prompt) const {
  return fmt::format("{}{}{}", before, prompt, after);
}

Expected<std::vector<int32_t>> tokenize_prompt(const Tokenizer& tokenizer, const ChatForm& form,
                                               std::string_view prompt) {
  // Checked here and not only in encode, so that the offset counts from the caller's first byte.
  if (const auto offset = find_invalid_utf8(prompt)) {
    return make_error(
        ErrorCode::kInvalidArgument,
        "the prompt is not UTF-8: the byte 0x{:02x} at offset {} of {} starts no character",
        static_cast<unsigned char>(prompt[*offset]), *offset, prompt.size());
  }
  if (form.end_tokens == 0) {
    INTAGLIO_ASSIGN(std::vector<int32_t> ids, tokenizer.encode(form.around(prompt)));
    INTAGLIO_TRY(limit_prompt_tokens(form, ids));
    return ids;
  }
  // The end begins with a token that no text before it joins: its tokens are the same alone.
  INTAGLIO_ASSIGN(std::vector<int32_t> ids,
                  tokenizer.encode(fmt::format("{}{}", form.before, prompt)));
  const auto most = static_cast<size_t>(std::max<int64_t>(form.most_tokens - form.end_tokens, 0));
  if (ids.size() > most) ids.resize(most);
  INTAGLIO_ASSIGN(const std::vector<int32_t> end, tokenizer.encode(form.after));
  ids.insert(ids.end(), end.begin(), end.end());
  return ids;
}

Status check_prompt_tokens(const ChatForm& form, const std::vector<int32_t>& ids) {
  if (static_cast<int64_t>(ids.size()) <= form.most_tokens) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "the prompt is {} tokens long in chat form; at most {} are allowed", ids.size(),
                    form.most_tokens);
}

Status check_behind_task(std::string_view model, const std::vector<int32_t>& ids) {
  if (static_cast<int64_t>(ids.size()) > kPictureTaskTokens) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "{} text tokens; {} reads none of the first {}, which say the task, and "
                    "needs more",
                    ids.size(), model, kPictureTaskTokens);
}

Status limit_prompt_tokens(const ChatForm& form, std::vector<int32_t>& ids) {
  if (!form.cuts) INTAGLIO_TRY(check_prompt_tokens(form, ids));
  const auto most = static_cast<size_t>(form.most_tokens);
  if (ids.size() > most) ids.resize(most);
  if (form.pads) ids.resize(most, kPadding);
  return {};
}

}  // namespace intaglio::qwen3
