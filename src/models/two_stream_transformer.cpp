#include "models/two_stream_transformer.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/memory.h"
#include "core/pace.h"
#include "models/parts/time_embedding.h"
#include "ops/elementwise.h"
#include "ops/norm.h"

namespace intaglio {
namespace {

constexpr double kTimeScale = 1000.0;

}  // namespace

// Text features have outliers that rows of int8 would drown in, and run through their linear once a
// picture: it stays in floats, as all edges do.
Status TwoStreamTransformer::walk_ends(ModuleVisitor& v) {
  const int64_t d = width();
  const auto single = [&](const char* name, int64_t n, int64_t k, LinearWeights& weights) {
    return v.linear({.names = {name}, .rows = {n}, .k = k, .bias = sizes_.block.bias}, weights);
  };
  INTAGLIO_TRY(single(names_.image_in, d, sizes_.channels, image_in_));
  if (*names_.text_norm != '\0')
    INTAGLIO_TRY(v.vector(names_.text_norm, Shape{sizes_.text_dim}, text_norm_));
  INTAGLIO_TRY(single(names_.text_in, d, sizes_.text_dim, text_in_));
  INTAGLIO_TRY(single(names_.time_in, d, sizes_.time_frequencies, time_in_));
  INTAGLIO_TRY(single(names_.time_out, d, d, time_out_));
  return single(names_.out, sizes_.channels, d, final_linear_);
}

Status TwoStreamTransformer::walk_modulation(ModuleVisitor& v, const std::string& prefix,
                                             std::vector<std::string> names, int64_t rows,
                                             StepModulation& modulation) {
  const auto index = static_cast<int64_t>(&modulation - modulations_.data());
  v.begin_layer(index, prefix);
  return v.linear({.names = std::move(names),
                   .rows = {rows * width()},
                   .k = width(),
                   .bias = sizes_.block.bias,
                   .residence = Residence::kOnce},
                  modulation.weights);
}

Status TwoStreamTransformer::walk_out_modulation(ModuleVisitor& v) {
  const int64_t parts = static_cast<int64_t>(names_.out_modulation.size());
  v.begin_layer(static_cast<int64_t>(modulations_.size()), "");
  return v.linear(
      {.names = names_.out_modulation,
       .rows = std::vector<int64_t>(names_.out_modulation.size(), kLastRows * width() / parts),
       .k = width(),
       .bias = sizes_.block.bias,
       .residence = Residence::kOnce},
      final_modulation_);
}

Status TwoStreamTransformer::walk_doubles(ModuleVisitor& v) {
  doubles_.resize(static_cast<size_t>(sizes_.layers));
  for (int64_t i = 0; i < sizes_.layers; ++i) {
    v.begin_layer(i, fmt::format("transformer_blocks.{}.", i));
    INTAGLIO_TRY(walk_double_block(v, sizes_.block, doubles_[static_cast<size_t>(i)]));
  }
  return {};
}

SequenceRows TwoStreamTransformer::sequence(const PassSize& size) const {
  return {.text = std::max<int64_t>(size.text_tokens - unread_, 0), .image = size.image_tokens()};
}

AttentionDesc TwoStreamTransformer::attention_desc(const Context& context, int64_t rows) const {
  return with_scores(context, {.tokens = rows,
                               .heads = sizes_.block.heads,
                               .kv_heads = sizes_.block.heads,
                               .head_dim = sizes_.block.head_dim,
                               .causal = false,
                               .dtype = selection().activation_dtype()});
}

BlockSizes TwoStreamTransformer::buffer_sizes(int64_t rows) const {
  return double_block_buffers(sizes_.block, selection().activation_dtype(), rows, sizes_.channels);
}

size_t TwoStreamTransformer::block_scratch(const Context& context, const PassSize& size) const {
  const AttentionDesc attention = attention_desc(context, sequence(size).all());
  const PassRows rows = pass_rows(size);
  size_t scratch = 0;
  for (const DoubleBlock& block : doubles_) {
    scratch = std::max(scratch, double_block_scratch(context, block, attention, rows.text,
                                                     rows.image, size.split));
  }
  return scratch;
}

size_t TwoStreamTransformer::forward_bytes(const Context& context, const PassSize& size) const {
  const PassRows rows = pass_rows(size);
  const size_t scratch =
      std::max({linear_scratch_bytes(context, image_in_, rows.image, DType::kF32),
                linear_scratch_bytes(context, final_linear_, rows.image, DType::kF32),
                block_scratch(context, size)});
  return block_buffer_bytes(buffer_sizes(rows.all())) + scratch;
}

size_t TwoStreamTransformer::prepare_bytes(const Context& context, const PassSize& size,
                                           int64_t steps) const {
  size_t scratch = 0;
  for (const LinearWeights* w : {&time_in_, &time_out_, &final_modulation_})
    scratch = std::max(scratch, linear_scratch_bytes(context, *w, steps, DType::kF32));
  for (const StepModulation& modulation : modulations_)
    scratch =
        std::max(scratch, linear_scratch_bytes(context, modulation.weights, steps, DType::kF32));
  const int64_t cols = std::max(width(), sizes_.time_frequencies);
  const size_t time_bytes = 3 * arena_bytes<float>(steps * cols) + scratch;
  const int64_t rows = sequence(size).text;
  const size_t text_bytes = arena_bytes<float>(rows * sizes_.text_dim) +
                            linear_scratch_bytes(context, text_in_, rows, DType::kF32);
  return std::max(time_bytes, text_bytes);
}

size_t TwoStreamTransformer::scratch_bytes(const Context& context, const PassSize& size,
                                           int64_t steps) const {
  return std::max(forward_bytes(context, size), prepare_bytes(context, size, steps));
}

// None of these linears is quantized, so their inputs have no scales.
Status TwoStreamTransformer::embed_times(const Context& context, std::span<const float> times,
                                         TransformerSession& session) const {
  const Arena::Scope scope(*context.scratch);
  const int64_t d = width();
  const int64_t steps = session.steps();
  const int64_t frequencies = sizes_.time_frequencies;
  const int64_t values = steps * std::max(d, frequencies);
  INTAGLIO_ASSIGN(float* const x, context.scratch->take<float>(values));
  INTAGLIO_ASSIGN(float* const y, context.scratch->take<float>(values));
  INTAGLIO_ASSIGN(float* const storage, context.scratch->take<float>(values));
  const auto apply = [&](const LinearWeights& weights, const float* in, float* out,
                         int64_t ldo) -> Status {
    INTAGLIO_ASSIGN(const Activation input,
                    as_linear_input(context, weights, in, DType::kF32, steps, storage, nullptr));
    return linear(context, weights, input, out, DType::kF32, ldo);
  };
  const auto silu = [&](float* rows) {
    return activate_in_place(
        context, {.x = rows, .rows = steps, .cols = d, .ld = d, .function = Nonlinearity::kSilu});
  };
  std::vector<float> embedding(static_cast<size_t>(steps * frequencies));
  for (size_t s = 0; s < times.size(); ++s) {
    const auto cols = static_cast<size_t>(frequencies);
    fill_time_embedding(kTimeScale * static_cast<double>(times[s]),
                        std::span(embedding).subspan(s * cols, cols));
  }
  INTAGLIO_TRY(copy_in(context, x, embedding.data(), embedding.size() * sizeof(float)));
  INTAGLIO_TRY(apply(time_in_, x, y, d));
  INTAGLIO_TRY(silu(y));
  INTAGLIO_TRY(apply(time_out_, y, x, d));
  INTAGLIO_TRY(silu(x));

  // In the order of the walk.
  const bool streams = !once().empty();
  StreamPass stream = once_pass(context, once());
  INTAGLIO_TRY(stream.begin());
  const auto project = [&](const LinearWeights& weights, float* out, int64_t ldo) -> Status {
    if (streams) INTAGLIO_TRY(stream.acquire());
    INTAGLIO_TRY(apply(weights, x, out, ldo));
    return streams ? stream.release() : Status{};
  };
  const int64_t ldo = session_tables().block;
  for (const StepModulation& m : modulations_)
    INTAGLIO_TRY(project(m.weights, session.block_modulations(m.block) + m.first * d, ldo));
  INTAGLIO_TRY(project(final_modulation_, session.last_modulations(), kLastRows * d));
  return stream.end();
}

Status TwoStreamTransformer::embed_text(const Context& context, const TextInput& text,
                                        TransformerSession& session) const {
  const Arena::Scope scope(*context.scratch);
  const int64_t rows = session.rows().text;
  const float* const features = text.features + unread_ * sizes_.text_dim;
  INTAGLIO_ASSIGN(float* const storage, context.scratch->take<float>(rows * sizes_.text_dim));
  Activation input;
  if (text_norm_.size() == 0) {
    INTAGLIO_ASSIGN(
        input, as_linear_input(context, text_in_, features, DType::kF32, rows, storage, nullptr));
  } else {
    input = text_in_.input_at(storage, rows, nullptr);
    INTAGLIO_TRY(norm(
        context, norm_into(NormKind::kRms, sizes_.block.norm_eps, input),
        {.x = features, .weight = text_norm_.as<float>(), .modulation = nullptr, .out = input}));
  }
  return linear(context, text_in_, input, session.text(), DType::kF32, width());
}

// The rows of b.all.h.
Status TwoStreamTransformer::embed_sequence(const Context& context,
                                            const TransformerSession& session, const float* latents,
                                            const DoubleBuffers& b, Profile* profile) const {
  const PassRows& rows = session.pass_rows();
  if (rows.text > 0)
    INTAGLIO_TRY(copy_inside(context, b.all.h, session.text() + rows.first_text * width(),
                             static_cast<size_t>(rows.text * width()) * sizeof(float)));
  const BlockBuffers image = b.image();
  if (image.tokens == 0) return {};
  INTAGLIO_ASSIGN(
      const Activation input,
      as_linear_input(context, image_in_, latents + rows.first_image_token * sizes_.channels,
                      DType::kF32, image.tokens, image.input, image.scale_row));
  const ProfileScope part(context, profile, ProfilePart::kLinear, "input");
  return linear(context, image_in_, input, image.h, DType::kF32, width());
}

Status TwoStreamTransformer::run_block(const Context& context, const TransformerSession& session,
                                       size_t index, size_t count, DoubleBuffers& b,
                                       Profile* profile) const {
  const bool goes_on = index + 1 < std::min(count, doubles_.size());
  DoubleBlockInputs inputs{.attention = attention_of(context, session),
                           .rope = session.rope(session.pass_rows().first),
                           .modulation = double_modulation(session, index),
                           .text_is_read = index + 1 < count};
  if (goes_on) {
    inputs.next = &doubles_[index + 1];
    inputs.next_modulation = double_modulation(session, index + 1);
  }
  return run_double_block(context, sizes_.block, doubles_[index], inputs, b, profile);
}

// Scale first, then shift.
Status TwoStreamTransformer::run_output(const Context& context, const TransformerSession& session,
                                        BlockBuffers image, float* velocity,
                                        Profile* profile) const {
  if (image.tokens == 0) return {};
  const float* const scale = session.last_modulation();
  const ModulatedNorm last(image, sizes_.block.norm_eps, {.shift = scale + width(), .scale = scale},
                           final_linear_);
  INTAGLIO_TRY(run_norm(context, last, image, profile));
  const ProfileScope part(context, profile, ProfilePart::kLinear, "output");
  return linear(context, final_linear_, image.input_for(final_linear_),
                velocity + session.pass_rows().first_image_token * sizes_.channels, DType::kF32,
                sizes_.channels);
}

Status TwoStreamTransformer::forward(const Context& context, const TransformerSession& session,
                                     const float* latents, float* velocity, Profile* profile,
                                     const BlockCache& cache) const {
  const Arena::Scope scope(*context.scratch);
  const size_t count = cache.last_of(blocks());
  StreamPass stream = layer_pass(context, count);
  INTAGLIO_TRY(stream.begin());
  const PassRows& rows = session.pass_rows();
  DoubleBuffers b{.all = {}, .sizes = buffer_sizes(rows.all()), .text_rows = rows.text};
  INTAGLIO_ASSIGN(b.all, take_block_buffers(*context.scratch, b.sizes));
  INTAGLIO_TRY(embed_sequence(context, session, latents, b, profile));
  INTAGLIO_TRY(begin_double_blocks(context, sizes_.block, doubles_.front(),
                                   double_modulation(session, 0), b, profile));
  const BlockBuffers image = b.image();
  const int64_t image_values = image.tokens * width();
  Pace pace(context);
  for (size_t i = 0; i < count; ++i) {
    INTAGLIO_TRY(pace.next());
    INTAGLIO_TRY(cache.before_block(context, i, image.h, image_values));
    if (streams(i)) {
      const ProfileScope part(context, profile, ProfilePart::kOther, "wait for weights");
      INTAGLIO_TRY(stream.acquire());
    }
    INTAGLIO_TRY(run_block(context, session, i, count, b, profile));
    if (streams(i)) INTAGLIO_TRY(stream.release());
  }
  INTAGLIO_TRY(stream.end());
  INTAGLIO_TRY(cache.finish(context, image.h, image_values));
  return run_output(context, session, image, velocity, profile);
}

}  // namespace intaglio
