// One way to draw the pictures of an evaluation: a model, its arithmetic, a schedule.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "model_flags.h"

namespace intaglio::cli {

struct Variant {
  std::string name;  // a folder's
  std::string text;  // as it was asked for
  ModelFlags model;
  std::string precision = "int8";
  std::vector<std::string> keep_bf16;
  ScheduleFlags schedule;
  std::vector<std::string> loras;
  std::optional<std::string> cache, progressive;
  std::string attention = "auto";
  bool is_baseline = false;  // not asked for (eval/baseline.h)
};

// "int8" or "int8,model=FOLDER,steps=12,name=short": a precision, then keys of generate's flags
// (model, transformer, unconditional, text-encoder, vae, tokenizer, keep-bf16, lora, attention,
// preset, steps, mu, std, guidance with ; between its items, cache, progressive) and a name, else
// the text's letters. `model` is of variants that name none. kInvalidArgument, starting with
// `flag`.
Expected<Variant> parse_variant(std::string_view flag, const std::string& text,
                                const std::string& model);

}  // namespace intaglio::cli
