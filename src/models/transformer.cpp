#include "models/transformer.h"

#include <algorithm>
#include <atomic>

#include "core/large_copies.h"
#include "core/memory.h"
#include "models/parts/packed_modules.h"
#include "models/parts/split_attention.h"

namespace intaglio {
namespace {

// Text rows that a session has memory for: prompts of nearly the same length share it.
int64_t text_capacity(int64_t rows) {
  constexpr int64_t kTextBucket = 256;
  return (rows + kTextBucket - 1) / kTextBucket * kTextBucket;
}

// `count` floats in `buffer`, uninitialised; the same memory if it has that size.
Status hold_floats(const Context& context, int64_t count, AlignedBuffer& buffer) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(float);
  if (buffer.size() == bytes) return {};
  buffer = AlignedBuffer();  // give the old memory back first
  INTAGLIO_ASSIGN(buffer, allocate(context, bytes));
  return {};
}

}  // namespace

TensorShapes Transformer::tensor_shapes() {
  DeclareModules declare;
  // It reads nothing and allocates nothing, so it cannot fail.
  static_cast<void>(walk(declare));
  return declare.shapes();
}

Expected<std::shared_ptr<CheckpointSource>> Transformer::open_source(
    std::shared_ptr<const Checkpoint> checkpoint) {
  INTAGLIO_ASSIGN(std::shared_ptr<CheckpointSource> source,
                  CheckpointSource::open(std::move(checkpoint), aliases()));
  for (const LayerStack& stack : layer_stacks())
    INTAGLIO_TRY(source->refuse_layers_beyond(stack.prefix, stack.count, stack.key));
  INTAGLIO_TRY(source->check(tensor_shapes()));
  return source;
}

ModelWeights Transformer::module_weights() {
  CountModules count(options_.selection, options_.source.get(), adapters());
  static_cast<void>(walk(count));
  return count.weights();
}

std::vector<ListedLinear> Transformer::listed_linears() {
  ListModules list;
  static_cast<void>(walk(list));
  return list.linears();
}

std::vector<std::string> Transformer::quantized_linears() {
  ListModules list;
  static_cast<void>(walk(list));
  return list.quantized();
}

std::vector<NamedLinear> Transformer::named_linears() {
  NameModules name;
  static_cast<void>(walk(name));
  return name.linears();
}

Status Transformer::describe(const Context& context) {
  DescribeModules describe(context, options_.selection, options_.source.get(), adapters());
  return walk(describe);
}

Expected<std::set<const TensorEntry*>> Transformer::match_adapters() {
  std::vector<AdapterUse> uses = options_.adapters;
  for (AdapterUse& use : uses) use.strength = 1.0f;
  AdapterMatch match(Adapters(uses, options_.part, aliases()));
  FindModules find(match);
  INTAGLIO_TRY(walk(find));
  return match.tensors();
}

Status Transformer::load(const Context& context, TensorSource& source) {
  // Everything is checked before anything is prepared, so that the list of problems is complete and
  // comes at once.
  INTAGLIO_TRY(source.check(tensor_shapes()));
  INTAGLIO_TRY(match_adapters());
  const LargeCopies copies(context);
  keep_alive_ = source.keep_alive();
  INTAGLIO_TRY(choose_streamed_layers(context));
  weight_bytes_ = 0;
  PackedKey key(context, source, options_.selection, adapters());
  INTAGLIO_TRY(walk(key));
  PackedModules prepare(
      context, source, options_.selection,
      [&](Residence residence, int64_t layer, LinearWeights& weights) -> Status {
        INTAGLIO_TRY(stream_prepared(context, residence, layer, weights));
        weight_bytes_ += weights.size_bytes();
        if (weights.side != nullptr) weight_bytes_ += weights.side->size_bytes();
        return {};
      },
      adapters(), PackedStore::open(context, source, key), read_ahead_of(source, key, aliases()));
  INTAGLIO_TRY(walk(prepare));
  keep_alive_ = prepare.finish(source.keep_alive());
  return {};
}

bool Transformer::keeps_weights(const std::vector<AdapterUse>& adapters) {
  CompareMerged compare(this->adapters(), Adapters(adapters, options_.part, aliases()));
  static_cast<void>(walk(compare));  // it reads nothing
  return compare.same();
}

void Transformer::take_adapters(const Context& context, std::vector<AdapterUse> adapters) {
  options_.adapters = std::move(adapters);
  Context uncancelled = context;
  uncancelled.cancel = nullptr;
  MakeBranches drop(uncancelled, options_.selection, {}, true);
  static_cast<void>(walk(drop));  // it makes nothing
  weight_bytes_ -= drop.freed();
  branches_due_ = true;
}

Status Transformer::make_branches(const Context& context) {
  if (!branches_due_) return {};
  MakeBranches make(context, options_.selection, adapters(), false);
  Status made = walk(make);
  weight_bytes_ += make.made() - make.freed();
  branches_due_ = !made;
  return made;
}

// Which layers stream, and the slots, which weights that are read once need in any case.
Status Transformer::choose_streamed_layers(const Context& context) {
  const ModelWeights weights = module_weights();
  streams_.assign(weights.layer_bytes.size(), false);
  if (context.gpu == nullptr) return {};
  const StreamingChoice choice = choose_streamed(weights.layer_bytes, options_.weight_budget);
  streams_ = choice.streams;
  streamed_.reserve(choice.count);
  streamer_ = options_.streamer;
  if (streamer_ != nullptr) return {};
  const uint64_t slot_bytes = std::max(choice.slot_bytes, weights.largest_once());
  if (slot_bytes == 0) return {};
  INTAGLIO_ASSIGN(streamer_, WeightStreamer::make(context, kStreamSlots, slot_bytes));
  return {};
}

// Moves weights that stream, prepared on the device, to host memory before the next are made: there
// is room for no more.
Status Transformer::stream_prepared(const Context& context, Residence residence, int64_t layer,
                                    LinearWeights& weights) {
  if (streamer_ == nullptr || residence == Residence::kFixed) return {};
  if (residence == Residence::kLayer && !streams(static_cast<size_t>(layer))) return {};
  std::vector<StreamedLayer>& list = residence == Residence::kOnce ? once_ : streamed_;
  if (list.empty() || list.back().layer != layer)
    list.push_back({.parts = {}, .slot = list.size() % streamer_->slots(), .layer = layer});
  return streamer_->take(context, weights, list.back());
}

uint64_t Transformer::streamed_bytes() const {
  uint64_t bytes = 0;
  for (const StreamedLayer& layer : streamed_) bytes += layer.bytes();
  return bytes;
}

int64_t Transformer::layers() const {
  int64_t layers = 0;
  for (const LayerStack& stack : layer_stacks())
    if (stack.of_pass) layers += stack.count;
  return layers;
}

int64_t Transformer::cached_blocks() const {
  int64_t blocks = 0;
  for (const LayerStack& stack : layer_stacks())
    if (stack.of_pass && stack.cached) blocks += stack.count;
  return blocks;
}

StreamPass Transformer::layer_pass(const Context& context, size_t end) const {
  const auto beyond = std::find_if(
      streamed_.begin(), streamed_.end(),
      [&](const StreamedLayer& layer) { return layer.layer >= static_cast<int64_t>(end); });
  return {context, streamer_.get(), std::span(streamed_.begin(), beyond)};
}

AttentionDesc Transformer::with_scores(const Context& context, AttentionDesc desc) const {
  if (options_.attention.scores) {
    desc.scores = *options_.attention.scores;
    desc.values = options_.attention.values;
  } else if (options_.selection.precision == Precision::kInt8) {
    desc.scores = AttentionScores::kS8;
    if (!choose_attention(desc, context)) desc.scores = AttentionScores::kFloat;
  }
  return desc;
}

void TransformerSession::share_steps(TransformerSession* leader) {
  if (leader != nullptr) {
    if (leader->steps_tables_ == nullptr) leader->steps_tables_ = std::make_shared<StepsTables>();
    steps_tables_ = leader->steps_tables_;
  } else if (follows_) {
    steps_tables_.reset();
  }
  follows_ = leader != nullptr;
}

size_t Transformer::session_bytes(const PassSize& size, int64_t steps, bool shares_steps) const {
  const SessionTables tables = session_tables();
  const SequenceRows rows = sequence(size);
  const int64_t text = text_capacity(rows.text);
  const int64_t floats = text * tables.text_width + (text + rows.image) * 2 * tables.angles +
                         tables.modulation() * (shares_steps ? 1 : steps + 1);
  return static_cast<size_t>(floats) * sizeof(float);
}

PassRows Transformer::pass_rows(const PassSize& size) const {
  const SequenceRows rows = sequence(size);
  const SplitRange own = part_of(rows.all(), size.split);
  const int64_t text_begins = rows.image_first ? rows.image : 0;
  const int64_t image_begins = rows.image_first ? 0 : rows.text;
  const auto part = [&](int64_t begins, int64_t count) -> SplitRange {
    const int64_t first = std::clamp<int64_t>(own.first - begins, 0, count);
    return {first, std::clamp<int64_t>(own.end() - begins, first, count) - first};
  };
  const SplitRange text = part(text_begins, rows.text), image = part(image_begins, rows.image);
  return {.first = own.first,
          .text = text.count,
          .image = image.count,
          .first_text = text.first,
          .first_image_token = image.first,
          .image_tokens = std::clamp<int64_t>(size.image_tokens() - image.first, 0, image.count)};
}

Status Transformer::check_split(const Context& context, const PassSize& size) const {
  if (size.split.ranks == 1) return {};
  if (!splits_passes())
    return make_error(ErrorCode::kUnsupported,
                      "a pass of this model is not split over several devices");
  return intaglio::check_split(attention_desc(context, sequence(size).all()), size.split.ranks);
}

Status Transformer::check_input(const TextInput& text, const PassSize& size, size_t steps) const {
  if (size.grid_h >= 1 && size.grid_w >= 1 && text.tokens >= 0 && steps > 0) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "transformer: grid {} x {}, {} text tokens, {} steps; expected positive sizes",
                    size.grid_h, size.grid_w, text.tokens, steps);
}

Status Transformer::prepare(const Context& context, const TextInput& text, int64_t grid_h,
                            int64_t grid_w, std::span<const float> times,
                            TransformerSession& session) const {
  PassSize size{.text_tokens = text.tokens, .grid_h = grid_h, .grid_w = grid_w};
  if (session.collective_ != nullptr)
    size.split = {session.collective_->rank(), session.collective_->size()};
  INTAGLIO_TRY(check_input(text, size, times.size()));
  INTAGLIO_TRY(check_split(context, size));
  const bool same = session.placement_ != 0 && session.size_ == size;
  session.size_ = size;
  session.rows_ = sequence(size);
  session.pass_rows_ = pass_rows(size);
  session.tables_ = session_tables();
  session.steps_ = static_cast<int64_t>(times.size());
  const SessionTables& tables = session.tables_;
  if (!session.follows_) INTAGLIO_TRY(hold_steps(context, session));
  if (!same) INTAGLIO_TRY(place_session(context, session));
  if (!session.follows_) INTAGLIO_TRY(embed_times(context, times, session));
  if (text.tokens == 0) return {};
  if (text.rows == nullptr) return embed_text(context, text, session);
  return copy_in(context, session.text_.data(), text.rows,
                 static_cast<size_t>(session.rows_.text * tables.text_width) * sizeof(float));
}

Expected<std::vector<float>> Transformer::text_rows(const Context& context,
                                                    const TransformerSession& session) const {
  std::vector<float> rows(static_cast<size_t>(session.rows_.text * session.tables_.text_width));
  INTAGLIO_TRY(copy_out(context, rows.data(), session.text_.data(), rows.size() * sizeof(float)));
  return rows;
}

// Memory for the modulations of all steps.
Status Transformer::hold_steps(const Context& context, TransformerSession& session) {
  using StepsTables = TransformerSession::StepsTables;
  if (session.steps_tables_ == nullptr) session.steps_tables_ = std::make_shared<StepsTables>();
  StepsTables& held = *session.steps_tables_;
  const SessionTables& tables = session.tables_;
  INTAGLIO_TRY(hold_floats(context, tables.blocks * session.steps_ * tables.block, held.blocks));
  return hold_floats(context, session.steps_ * tables.last, held.last);
}

// Memory for what `forward` reads, and the rope tables, which depend on the sizes alone.
Status Transformer::place_session(const Context& context, TransformerSession& session) const {
  static std::atomic<uint64_t> last_placement{0};
  session.placement_ = 0;
  const SessionTables& tables = session.tables_;
  const int64_t text = text_capacity(session.rows_.text);
  const int64_t rows = text + session.rows_.image;
  INTAGLIO_TRY(hold_floats(context, text * tables.text_width, session.text_));
  INTAGLIO_TRY(hold_floats(context, tables.modulation(), session.now_));
  INTAGLIO_TRY(hold_floats(context, rows * tables.angles, session.rope_cos_));
  INTAGLIO_TRY(hold_floats(context, rows * tables.angles, session.rope_sin_));
  std::vector<float> cosine(static_cast<size_t>(session.rows_.all() * tables.angles));
  std::vector<float> sine(cosine.size());
  fill_rope(session, cosine.data(), sine.data());
  const size_t bytes = cosine.size() * sizeof(float);
  INTAGLIO_TRY(copy_in(context, session.rope_cos_.data(), cosine.data(), bytes));
  INTAGLIO_TRY(copy_in(context, session.rope_sin_.data(), sine.data(), bytes));
  session.placement_ = ++last_placement;
  return {};
}

Status Transformer::select_step(const Context& context, TransformerSession& session,
                                int64_t step) const {
  if (step < 0 || step >= session.steps_) {
    return make_error(ErrorCode::kInvalidArgument, "transformer: step {} of a session of {}", step,
                      session.steps_);
  }
  const SessionTables& tables = session.tables_;
  const size_t row = static_cast<size_t>(tables.block) * sizeof(float);
  INTAGLIO_TRY(copy_inside(
      context, session.now_.data(), session.block_modulations(0) + step * tables.block,
      {row, static_cast<size_t>(tables.blocks), row, row * static_cast<size_t>(session.steps_)}));
  return copy_inside(context, session.now_.as<float>() + tables.blocks * tables.block,
                     session.last_modulations() + step * tables.last,
                     static_cast<size_t>(tables.last) * sizeof(float));
}

}  // namespace intaglio
