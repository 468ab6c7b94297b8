// The chat form in which Qwen3-VL reads a prompt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "text/tokenizer.h"

namespace intaglio::qwen3 {

inline constexpr int64_t kMaxPromptTokens = 2048;

// "<|im_start|>user\n" + prompt + "<|im_end|>\n<|im_start|>assistant\n"
std::string chat_form(std::string_view prompt);

// kInvalidArgument for more than kMaxPromptTokens, naming both numbers.
Status check_prompt_tokens(int64_t tokens);

// Ids of the prompt in chat form; more than kMaxPromptTokens is kInvalidArgument naming both numbers.
Expected<std::vector<int32_t>> tokenize_prompt(const Tokenizer& tokenizer, std::string_view prompt);

}  // namespace intaglio::qwen3
