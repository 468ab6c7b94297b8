#include "eval/towers/encoder_block.h"

namespace intaglio::towers {

const EncoderNames& clip_names() {
  static const EncoderNames kNames{
      .norm1 = "layer_norm1",
      .norm2 = "layer_norm2",
      .fc1 = "mlp.fc1",
      .fc2 = "mlp.fc2",
      .out = "self_attn.out_proj",
      .qkv = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}};
  return kNames;
}

const EncoderNames& timm_names() {
  static const EncoderNames kNames{.norm1 = "norm1",
                                   .norm2 = "norm2",
                                   .fc1 = "mlp.fc1",
                                   .fc2 = "mlp.fc2",
                                   .out = "attn.proj",
                                   .qkv = {"attn.qkv"}};
  return kNames;
}

Expected<EncoderBlock> read_block(const TowerWeights& source, const std::string& prefix,
                                  const EncoderNames& names, const EncoderShape& shape) {
  const auto dense = [&](const std::string& name, int64_t outputs, int64_t inputs) {
    const std::string full = prefix + name;
    return read_dense(source, {&full, 1}, outputs, inputs);
  };
  EncoderBlock block;
  INTAGLIO_ASSIGN(block.norm1, read_norm(source, prefix + names.norm1, shape.width, shape.eps));
  INTAGLIO_ASSIGN(block.norm2, read_norm(source, prefix + names.norm2, shape.width, shape.eps));
  std::vector<std::string> qkv;
  for (const std::string& name : names.qkv) qkv.push_back(prefix + name);
  const int64_t parts = 3 / static_cast<int64_t>(qkv.size());
  INTAGLIO_ASSIGN(block.qkv, read_dense(source, qkv, parts * shape.width, shape.width));
  INTAGLIO_ASSIGN(block.out, dense(names.out, shape.width, shape.width));
  INTAGLIO_ASSIGN(block.fc1, dense(names.fc1, shape.hidden, shape.width));
  INTAGLIO_ASSIGN(block.fc2, dense(names.fc2, shape.width, shape.hidden));
  return block;
}

Status run_block(TowerMath& math, const EncoderBlock& block, const EncoderStyle& style, Matrix& h) {
  INTAGLIO_TRY(math.check());
  INTAGLIO_ASSIGN(const Matrix normed, math.layer_norm(block.norm1, h));
  INTAGLIO_ASSIGN(const Matrix qkv, math.dense(block.qkv, normed));
  INTAGLIO_ASSIGN(const Matrix seen, math.self_attention(qkv, style.heads, style.causal));
  INTAGLIO_ASSIGN(const Matrix mixed, math.dense(block.out, seen));
  TowerMath::add(mixed, h);
  INTAGLIO_ASSIGN(const Matrix again, math.layer_norm(block.norm2, h));
  INTAGLIO_ASSIGN(Matrix hidden, math.dense(block.fc1, again));
  math.apply(style.curve, hidden);
  INTAGLIO_ASSIGN(const Matrix back, math.dense(block.fc2, hidden));
  TowerMath::add(back, h);
  return {};
}

}  // namespace intaglio::towers
