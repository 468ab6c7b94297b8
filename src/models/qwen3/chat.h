// The chat forms in which Qwen3, Qwen3-VL and Qwen2.5-VL read a prompt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "text/tokenizer.h"

namespace intaglio::qwen3 {

// The longest prompt of any model, in tokens.
inline constexpr int64_t kMaxPromptTokens = 2048;

// What Qwen-Image and Krea 2 say before a prompt, and its tokens, of which no features are made.
inline constexpr std::string_view kPictureTask =
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, "
    "quantity, "
    "text, spatial relationships of the objects and background:<|im_end|>\n<|im_start|>user\n";
inline constexpr int64_t kPictureTaskTokens = 34;

// What stands around a prompt, and what becomes of a long one.
struct ChatForm {
  std::string_view before = "<|im_start|>user\n";
  std::string_view after = "<|im_end|>\n<|im_start|>assistant\n";
  int64_t most_tokens = kMaxPromptTokens;
  bool cuts = false;  // to `most_tokens`, the form's end among them; else a long prompt is refused
  // Positive: so many of `most_tokens` are kept for the form's end, which is never cut.
  int64_t end_tokens = 0;
  bool pads = false;  // fills short prompts up to `most_tokens` with kPadding

  std::string around(std::string_view prompt) const;
};

// kInvalidArgument for more than form.most_tokens, naming both numbers.
Status check_prompt_tokens(const ChatForm& form, const std::vector<int32_t>& ids);
// Cuts, or refuses as above; fills up.
Status limit_prompt_tokens(const ChatForm& form, std::vector<int32_t>& ids);

// kInvalidArgument unless there is more than the tokens of kPictureTask, which `model` does not
// read.
Status check_behind_task(std::string_view model, const std::vector<int32_t>& ids);

// Ids of the prompt in chat form.
Expected<std::vector<int32_t>> tokenize_prompt(const Tokenizer& tokenizer, const ChatForm& form,
                                               std::string_view prompt);

}  // namespace intaglio::qwen3
