// A diffusion transformer, whatever the model: weights that load, stream and are planned by one
// walk, a session with what a picture's steps share, the pass that makes a velocity.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/collective.h"
#include "core/context.h"
#include "core/profile.h"
#include "models/attention_choice.h"
#include "models/parts/adapters.h"
#include "models/parts/block_cache.h"
#include "models/parts/modules.h"
#include "models/parts/row_split.h"
#include "models/parts/selection.h"
#include "models/parts/weight_streaming.h"
#include "models/parts/weights.h"
#include "ops/attention.h"

namespace intaglio {

// The text of a pass.
struct TextInput {
  int64_t tokens = 0;               // 0: none
  const float* features = nullptr;  // F32 [tokens, text_dim], memory of the device
  // Instead of the features, what a session of the same transformer made of them
  // (Transformer::text_rows): F32 [text rows, width], host memory.
  const float* rows = nullptr;
};

// What a pass is computed for: text tokens, and a grid of image tokens; and by which rank, if
// several share it.
struct PassSize {
  int64_t text_tokens = 0, grid_h = 0, grid_w = 0;
  RowSplit split{};
  int64_t image_tokens() const { return grid_h * grid_w; }
  bool operator==(const PassSize&) const = default;
};

// Rows of the sequence that attention runs over; a model may pad either kind of token.
struct SequenceRows {
  int64_t text = 0, image = 0;
  bool image_first = false;  // else the text's rows are before the image's
  int64_t all() const { return text + image; }
};

// Those of them that a pass computes: all, or the rank's part of those that several ranks share.
struct PassRows {
  int64_t first = 0;            // of the sequence
  int64_t text = 0, image = 0;  // of both kinds, in the sequence's order
  // The first ones of all text rows, and of all image tokens; the latter's number, without pads.
  int64_t first_text = 0, first_image_token = 0, image_tokens = 0;
  int64_t all() const { return text + image; }
};

// The tables of a session. Modulations are those of all blocks that have one, each `block` wide,
// then those of the output, `last` wide.
struct SessionTables {
  int64_t text_width = 0;  // of a row of embedded text
  int64_t angles = 0;      // rope angles of a row: half a head
  int64_t blocks = 0, block = 0, last = 0;

  int64_t modulation() const { return blocks * block + last; }
};

// What does not depend on the step, made once per picture: embedded text, rope tables, modulations
// of all steps. Memory of the context's device, in sizes that prompts of nearly the same length
// share.
class TransformerSession {
 public:
  const PassSize& size() const { return size_; }
  const SequenceRows& rows() const { return rows_; }
  // A model that does not split its passes has no other rows.
  const PassRows& pass_rows() const { return pass_rows_; }
  // Of the ranks that share its passes; nullptr: it computes them alone.
  Collective* collective() const { return collective_; }
  int64_t image_tokens() const { return size_.image_tokens(); }
  int64_t steps() const { return steps_; }
  // From the next `prepare` on it reads the modulations of `leader`, a session of the same
  // transformer that is prepared first, for the same times; nullptr: its own.
  void share_steps(TransformerSession* leader);
  // From the next `prepare` on its passes are those of this rank, which outlives them; nullptr:
  // whole passes. The sessions of all ranks are prepared alike.
  void share_rows(Collective* collective) { collective_ = collective; }
  // Another number whenever sizes, or the places of what `forward` reads, are others than before: a
  // recorded pass is good as long as it stays the same.
  uint64_t placement() const { return placement_; }

  // F32 [rows().text, text_width].
  float* text() const { return text_.as<float>(); }
  // From row `first` of the sequence on.
  RopeTable rope(int64_t first = 0) const {
    return {rope_cos_.as<float>() + first * tables_.angles,
            rope_sin_.as<float>() + first * tables_.angles};
  }
  // Of all steps: F32 [steps, block], of the output F32 [steps, last].
  float* block_modulations(int64_t block) const {
    return steps_tables_->blocks.as<float>() + block * steps_ * tables_.block;
  }
  float* last_modulations() const { return steps_tables_->last.as<float>(); }
  // Of the selected step: F32 [block], of the output F32 [last].
  const float* block_modulation(int64_t block) const {
    return now_.as<float>() + block * tables_.block;
  }
  const float* last_modulation() const { return block_modulation(tables_.blocks); }

 private:
  friend class Transformer;
  // Of all steps.
  struct StepsTables {
    AlignedBuffer blocks;  // F32 [blocks, steps, block]
    AlignedBuffer last;    // F32 [steps, last]
  };
  PassSize size_;
  SequenceRows rows_;
  PassRows pass_rows_;
  Collective* collective_ = nullptr;
  SessionTables tables_;
  int64_t steps_ = 0;
  uint64_t placement_ = 0;
  std::shared_ptr<StepsTables> steps_tables_;
  bool follows_ = false;    // steps_tables_ are those of another session
  AlignedBuffer text_;      // F32 [text rows, text_width]
  AlignedBuffer rope_cos_;  // F32 [rows, angles]
  AlignedBuffer rope_sin_;  // F32 [rows, angles]
  AlignedBuffer now_;       // F32 [blocks, block] and [last]: of the step in work
};

struct TransformerOptions {
  LayerSelection selection;
  AttentionChoice attention{};
  // Bytes of a GPU's memory for the packed weights of the layers; those that do not fit stream from
  // host memory (models/parts/weight_streaming.h). 0: all fit. A CPU has no other memory and
  // ignores it.
  uint64_t weight_budget = 0;
  // Slots shared with another transformer, large enough for what is read once a picture and the
  // streamed layers of both; nullptr: slots of its own.
  std::shared_ptr<WeightStreamer> streamer{};
  // What plans ask how linears are stored; nullptr: as floats.
  std::shared_ptr<const TensorSource> source{};
  // On its weights, and what adapters call a transformer like this one.
  std::vector<AdapterUse> adapters{};
  std::string_view part = "transformer";
};

class Transformer {
 public:
  explicit Transformer(TransformerOptions options) : options_(std::move(options)) {}
  virtual ~Transformer() = default;
  Transformer(const Transformer&) = delete;
  Transformer& operator=(const Transformer&) = delete;

  // ---- Of its config.
  virtual int64_t channels() const = 0;  // latent channels of a token
  virtual int64_t text_dim() const = 0;  // of the features it reads
  virtual int64_t width() const = 0;     // of the residual stream
  int64_t layers() const;                // that a pass runs
  const LayerSelection& selection() const { return options_.selection; }

  // What checkpoints call its modules else.
  virtual std::span<const ModuleAlias> aliases() const { return {}; }

  // ---- Without weights.
  // Every tensor it reads and its shape.
  TensorShapes tensor_shapes();
  // Where its tensors are in a checkpoint, under any of their names. kShapeMismatch unless it has
  // all of them and no layer more.
  Expected<std::shared_ptr<CheckpointSource>> open_source(
      std::shared_ptr<const Checkpoint> checkpoint);
  // Bytes of the weights on a GPU.
  ModelWeights module_weights();
  // Its large products, as passes run them; names of the linears that are quantized.
  std::vector<ListedLinear> listed_linears();
  std::vector<std::string> quantized_linears();
  // The latter with all that calibration must know of them; of a loaded transformer too.
  std::vector<NamedLinear> named_linears();
  // The products of `context`'s device: from here on scratch_bytes says what it will say of the
  // loaded model.
  Status describe(const Context& context);

  // ---- With weights.
  // Which tensors of the options' adapters, of whatever strength, are its own; kShapeMismatch,
  // kBadFormat or kUnsupported for one of those that does not fit.
  Expected<std::set<const TensorEntry*>> match_adapters();
  // Prepares every weight. Problems with tensors are listed together.
  Status load(const Context& context, TensorSource& source);
  // Whether the adapters change nothing but branches beside the linears: the rest is as it was
  // loaded.
  bool keeps_weights(const std::vector<AdapterUse>& adapters);
  // Takes adapters that it keeps its weights under, and drops its branches: they are made by
  // `make_branches`, before the next pass. What recorded passes refer to is no more.
  void take_adapters(const Context& context, std::vector<AdapterUse> adapters);
  // Makes branches that are due. On failure it is good for nothing but another call.
  Status make_branches(const Context& context);
  // Prepared weights on the device, without those used in place in the mapped file and those that
  // come from host memory.
  size_t weight_bytes() const { return weight_bytes_; }
  size_t streamed_layers() const { return streamed_.size(); }
  uint64_t streamed_bytes() const;  // of a pass, from pinned host memory
  // nullptr on a CPU.
  const WeightStreamer* streamer() const { return streamer_.get(); }

  // Whether attention over so many rows would run with int8 scores.
  bool uses_s8_scores(const Context& context, const PassSize& size) const {
    return attention_desc(context, sequence(size).all()).scores == AttentionScores::kS8;
  }
  // Query heads that read one key head.
  int64_t query_group(const Context& context) const {
    const AttentionDesc desc = attention_desc(context, 1);
    return desc.heads / desc.kv_heads;
  }
  // Rows of the sequence of a pass.
  virtual SequenceRows sequence(const PassSize& size) const {
    return {size.text_tokens, size.image_tokens()};
  }

  // Whether several devices may share the rows of a pass (TransformerSession::share_rows).
  virtual bool splits_passes() const { return false; }
  // kUnsupported, or kInvalidArgument for fewer rows or heads than ranks.
  virtual Status check_split(const Context& context, const PassSize& size) const;
  // Rows that a pass computes.
  PassRows pass_rows(const PassSize& size) const;

  // Bytes `prepare` and `forward` take from context.scratch; bytes a session owns.
  virtual size_t scratch_bytes(const Context& context, const PassSize& size,
                               int64_t steps) const = 0;
  // `shares_steps`: with modulations of another session.
  size_t session_bytes(const PassSize& size, int64_t steps, bool shares_steps = false) const;

  // times (host memory): of each step, as SamplingStep::time. The memory of `session` is used again
  // where its size is right. A session that this fails on is good for nothing but another call.
  Status prepare(const Context& context, const TextInput& text, int64_t grid_h, int64_t grid_w,
                 std::span<const float> times, TransformerSession& session) const;
  // The embedded text of a session, as TextInput::rows takes it.
  Expected<std::vector<float>> text_rows(const Context& context,
                                         const TransformerSession& session) const;
  // Makes `step` the one that `forward` computes. Apart from it, so that what forward does is the
  // same for every step and can be recorded once.
  Status select_step(const Context& context, TransformerSession& session, int64_t step) const;
  // latents, velocity: F32 [image_tokens, channels], of which a rank reads and writes its own rows
  // alone. `profile` may be null. `cache`: from 1 to cached_blocks() - 1 blocks are its first.
  virtual Status forward(const Context& context, const TransformerSession& session,
                         const float* latents, float* velocity, Profile* profile = nullptr,
                         const BlockCache& cache = {}) const = 0;
  // Blocks of a pass that a BlockCache counts: those of the whole sequence.
  int64_t cached_blocks() const;
  // Values of BlockCache::residual.
  int64_t residual_values(const PassSize& size) const { return pass_rows(size).image * width(); }

 protected:
  // Every module, once: names, shapes and roles stand nowhere else.
  virtual Status walk(ModuleVisitor& visitor) = 0;
  // Stacks of layers: the prefix of their names, their number, and the config's key that says it.
  struct LayerStack {
    std::string prefix;
    int64_t count = 0;
    std::string key;
    bool of_pass = true;  // else they run once a picture
    bool cached = true;   // whether a BlockCache counts them
  };
  virtual std::vector<LayerStack> layer_stacks() const = 0;
  virtual SessionTables session_tables() const = 0;
  // Host memory: cos and sin [rows, angles].
  virtual void fill_rope(const TransformerSession& session, float* cos, float* sin) const = 0;
  // Fill the modulations of all steps, and the text.
  virtual Status embed_times(const Context& context, std::span<const float> times,
                             TransformerSession& session) const = 0;
  virtual Status embed_text(const Context& context, const TextInput& text,
                            TransformerSession& session) const = 0;
  // Of attention over so many rows of the sequence.
  virtual AttentionDesc attention_desc(const Context& context, int64_t rows) const = 0;

  const TransformerOptions& options() const { return options_; }
  // `desc` with the scores and values of the options.
  AttentionDesc with_scores(const Context& context, AttentionDesc desc) const;
  bool streams(size_t layer) const { return streams_[layer]; }
  // Passes through the weights that stream: the layers of a forward pass, what is read once a
  // picture. The latter is empty on a CPU.
  // The former up to layer `end` of the model.
  StreamPass layer_pass(const Context& context, size_t end) const;
  std::span<const StreamedLayer> once() const { return once_; }
  StreamPass once_pass(const Context& context, std::span<const StreamedLayer> part) const {
    return {context, streamer_.get(), part};
  }

 private:
  Adapters adapters() const { return {options_.adapters, options_.part, aliases()}; }
  Status check_input(const TextInput& text, const PassSize& size, size_t steps) const;
  static Status hold_steps(const Context& context, TransformerSession& session);
  Status place_session(const Context& context, TransformerSession& session) const;
  Status choose_streamed_layers(const Context& context);
  Status stream_prepared(const Context& context, Residence residence, int64_t layer,
                         LinearWeights& weights);

  TransformerOptions options_;
  std::shared_ptr<const void> keep_alive_;  // borrowed weights
  size_t weight_bytes_ = 0;
  bool branches_due_ = false;
  std::vector<bool> streams_;  // by layer
  std::shared_ptr<WeightStreamer> streamer_;
  std::vector<StreamedLayer> streamed_;  // in the order of their layers
  std::vector<StreamedLayer> once_;      // Residence::kOnce, by layer
};

}  // namespace intaglio
