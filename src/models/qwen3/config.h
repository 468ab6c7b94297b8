// Sizes of a language model of Qwen2.5-VL or Qwen3 that encodes text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/status.h"
#include "io/json_config.h"

namespace intaglio::qwen3 {

// Among token ids: what fills a text up. None of a vocabulary, so that no prompt says it.
inline constexpr int32_t kPadding = -1;

struct TextEncoderConfig {
  int64_t layers = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int64_t hidden = 0, intermediate = 0, vocab = 0;
  double rope_theta = 0.0;
  float norm_eps = 0.0f;
  bool qk_norm = true;    // Qwen3: heads of q and k are normed
  bool qkv_bias = false;  // Qwen2.5
  // Layers whose outputs make the text features, ascending; -1: the embeddings.
  std::vector<int64_t> taps;
  // The outputs of a token's taps one after the other; else interleaved by channel.
  bool side_by_side = false;
  bool final_norm = false;  // what is tapped of the last layer has passed the model's own norm
  // What a kPadding is read as; each attends to the tokens before all of them alone, not even to
  // itself. -1: there are none.
  int32_t padding = -1;

  int64_t feature_dim() const { return hidden * static_cast<int64_t>(taps.size()); }
};

// The language models of Qwen3-4B and of Qwen3-8B, without taps.
TextEncoderConfig qwen3_4b();
TextEncoderConfig qwen3_8b();
// That of Qwen2.5-VL-7B.
TextEncoderConfig qwen2_5_7b();

// From text_encoder/config.json: its `text_config`, or the file itself. Without taps.
Expected<TextEncoderConfig> parse_text_encoder_config(const JsonConfig& json);

// Taps by the states of published code: 0 the embeddings, i the output of layer i counted from 1,
// the last one behind the model's norm. kBadFormat, beginning with `where`, unless they ascend.
Status set_states(const std::vector<int64_t>& states, const std::string& where,
                  TextEncoderConfig& config);

// kBadFormat, beginning with `where`, unless the taps are ascending numbers of the config's layers.
Status set_taps(std::vector<int64_t> taps, const std::string& where, TextEncoderConfig& config);

}  // namespace intaglio::qwen3
