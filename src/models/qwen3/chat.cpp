#include "models/qwen3/chat.h"

#include <fmt/format.h>

#include "text/unicode.h"

namespace intaglio::qwen3 {

std::string chat_form(std::string_view prompt) {
  return fmt::format("<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n", prompt);
}

Expected<std::vector<int32_t>> tokenize_prompt(const Tokenizer& tokenizer,
                                               std::string_view prompt) {
  // Checked here and not only in encode, so that the offset counts from the caller's first byte.
  if (const auto offset = find_invalid_utf8(prompt)) {
    return make_error(
        ErrorCode::kInvalidArgument,
        "the prompt is not UTF-8: the byte 0x{:02x} at offset {} of {} starts no character",
        static_cast<unsigned char>(prompt[*offset]), *offset, prompt.size());
  }
  INTAGLIO_ASSIGN(std::vector<int32_t> ids, tokenizer.encode(chat_form(prompt)));
  INTAGLIO_TRY(check_prompt_tokens(static_cast<int64_t>(ids.size())));
  return ids;
}

Status check_prompt_tokens(int64_t tokens) {
  if (tokens <= kMaxPromptTokens) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "the prompt is {} tokens long in chat form; at most {} are allowed", tokens,
                    kMaxPromptTokens);
}

}  // namespace intaglio::qwen3
