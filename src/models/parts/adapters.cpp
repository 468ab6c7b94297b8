#include "models/parts/adapters.h"

#include <algorithm>
#include <atomic>
#include <deque>

#include "core/finite.h"
#include "core/parallel_tasks.h"
#include "io/formats/tensor_set.h"
#include "io/printable.h"

namespace intaglio {
namespace {

// Bias and vectors are told by their names' ends.
struct Leafed {
  std::string_view module;
  AdapterLeaf leaf = AdapterLeaf::kDiff;
};
Leafed leafed(std::string_view name) {
  constexpr std::string_view kBias = ".bias", kWeight = ".weight";
  if (name.ends_with(kBias))
    return {name.substr(0, name.size() - kBias.size()), AdapterLeaf::kDiffBias};
  if (name.ends_with(kWeight)) name.remove_suffix(kWeight.size());
  return {name, AdapterLeaf::kDiff};
}

// The tensor that makes the weight another than `expected`, for a message.
tl::unexpected<Error> wrong_shape(const AdapterUse& use, const AdapterModule& m,
                                  const AdapterShape& found, const std::string& module,
                                  const Shape& expected) {
  const std::string file = use.file->path().string();
  if (m.is_low_rank()) {
    const bool is_down = found.k != expected[1];
    const TensorEntry& entry = *m.at(is_down ? AdapterLeaf::kDown : AdapterLeaf::kUp);
    return make_error(
        ErrorCode::kShapeMismatch, "{}: {}: found {}, {} of the model takes {}", file,
        printable(entry.name), type_and_shape(entry), module,
        to_string(is_down ? Shape{found.rank, expected[1]} : Shape{expected[0], found.rank}));
  }
  const auto* const entry = *std::find_if(m.tensors.begin(), m.tensors.end(), [&](const auto* e) {
    return e != nullptr && e != m.at(AdapterLeaf::kAlpha);
  });
  return make_error(ErrorCode::kShapeMismatch,
                    "{}: {}: makes a weight [{}, {}], {} of the model takes {}", file,
                    printable(entry->name), found.n, found.k, module, to_string(expected));
}

}  // namespace

Adapters::Adapters(std::span<const AdapterUse> uses, std::string_view part,
                   std::span<const ModuleAlias> aliases, LowRank low_rank)
    : part_(part), aliases_(aliases), low_rank_(low_rank) {
  for (const AdapterUse& use : uses)
    if (use.strength != 0.0f) uses_.push_back(use);
}

void Adapters::find_of(const AdapterUse& use, std::string_view module, int64_t n,
                       std::vector<Found>& found) const {
  if (const AdapterModule* const own = use.file->find(part_, module)) found.push_back({&use, own});
  for (const ModuleAlias& alias : aliases_) {
    const std::optional<std::string> name = with_other_end(module, alias.module, alias.stored);
    const AdapterModule* const stored = name ? use.file->find(part_, *name) : nullptr;
    if (stored != nullptr) found.push_back({&use, stored, alias.part * n, alias.parts});
  }
}

std::vector<Adapters::Found> Adapters::find(std::string_view module, int64_t n) const {
  std::vector<Found> found;
  for (const AdapterUse& use : uses_) find_of(use, module, n, found);
  return found;
}

bool Adapters::merges(std::string_view module) const {
  const std::vector<Found> found = find(module, 0);
  return std::any_of(found.begin(), found.end(), [&](const Found& f) {
    return f.module->changes_weight() &&
           (low_rank_ == LowRank::kMerged || !f.module->is_low_rank());
  });
}

// Of a module, in order: what its weight is merged with, and what is added to it or its bias.
std::vector<Adapters::Found> Adapters::merged_of(std::string_view module) const {
  std::vector<Found> found = find(module, 1);
  const bool all = merges(module);
  std::erase_if(found, [&](const Found& f) {
    return !(all && f.module->changes_weight()) && f.module->at(AdapterLeaf::kDiff) == nullptr &&
           f.module->at(AdapterLeaf::kDiffBias) == nullptr;
  });
  return found;
}

bool Adapters::merges_as(const Adapters& other, std::string_view module) const {
  const std::vector<Found> ours = merged_of(module), theirs = other.merged_of(module);
  return std::equal(ours.begin(), ours.end(), theirs.begin(), theirs.end(),
                    [](const Found& a, const Found& b) {
                      return *a.use == *b.use && a.module->name == b.module->name &&
                             a.first == b.first && a.parts == b.parts;
                    });
}

StoredForm Adapters::form(std::string_view module, StoredForm stored) const {
  if (uses_.empty() || !merges(module)) return stored;
  // Its publisher's choice to quantize it or not stands.
  return {.float_product = stored.float_product,
          .decoded = stored.decoded || stored.encoding != Encoding::kFloat};
}

Status Adapters::merge(const Context& context, std::string_view module,
                       LoadedLinear& weight) const {
  if (uses_.empty() || !merges(module)) return {};
  const StoredLinear& w = weight.linear;
  const int64_t n = w.n(), k = w.k();
  INTAGLIO_ASSIGN(const AdapterMerge merging, read_merge(module, n));
  INTAGLIO_ASSIGN(AlignedBuffer values,
                  AlignedBuffer::allocate(static_cast<size_t>(n * k) * sizeof(float)));
  std::atomic<bool> finite{true};
  const int64_t grain = std::max<int64_t>(1, kDecodedPiece / k);
  INTAGLIO_TRY(parallel_tasks(context, n, grain, [&](int64_t begin, int64_t end, int) {
    std::vector<float> work(static_cast<size_t>(3 * k));
    for (int64_t row = begin; row < end; ++row) {
      float* const out = values.as<float>() + row * k;
      dequantize_row(w, row, out);
      if (!merging.merge_row(row, {out, static_cast<size_t>(k)}, work.data())) finite = false;
    }
  }));
  if (!finite) return merging.not_finite(module);
  const StoredForm changed = form(module, w.form());
  weight.linear = {.values = {values.data(), DType::kF32, Shape{n, k}},
                   .float_product = changed.float_product,
                   .decoded = changed.decoded};
  weight.values = std::move(values);
  weight.scales = AlignedBuffer();
  weight.smooth = AlignedBuffer();
  return {};
}

Expected<AdapterMerge> Adapters::read_merge(std::string_view module, int64_t n) const {
  AdapterMerge merge;
  for (const Found& f : find(module, n)) {
    if (!f.module->changes_weight()) continue;
    INTAGLIO_ASSIGN(AdapterNumbers numbers, f.use->file->read_numbers(*f.module));
    merge.parts_.push_back({f, std::move(numbers)});
  }
  return merge;
}

bool AdapterMerge::merge_row(int64_t row, std::span<float> w, float* work) const {
  for (const Part& part : parts_) {
    part.numbers.merge_row(part.found.first + row, part.found.use->strength, w.data(), work);
  }
  return all_finite(w);
}

tl::unexpected<Error> AdapterMerge::not_finite(std::string_view module) const {
  return make_error(ErrorCode::kBadFormat, "{}: with its adapter {} holds an Inf or a NaN",
                    parts_.front().found.use->file->path().string(), module);
}

Status Adapters::add_to(const std::string& name, Tensor& tensor) const {
  if (uses_.empty()) return {};
  const auto [module, leaf] = leafed(name);
  const Shape shape = tensor.view.shape;
  for (const Found& f : find(module, shape.rank > 0 ? shape[0] : 0)) {
    const TensorEntry* const entry = f.module->at(leaf);
    const bool is_merged_bias = leaf == AdapterLeaf::kDiffBias && merges(module) &&
                                f.module->at(AdapterLeaf::kUpBias) != nullptr;
    if (entry == nullptr && !is_merged_bias) continue;
    std::vector<float> values;
    if (entry != nullptr) {
      INTAGLIO_ASSIGN(values, f.use->file->read_finite(*entry));
    }
    if (is_merged_bias) {
      INTAGLIO_ASSIGN(const AdapterNumbers numbers, f.use->file->read_numbers(*f.module));
      values.resize(numbers.bias().size(), 0.0f);
      for (size_t i = 0; i < values.size(); ++i) values[i] += numbers.factor() * numbers.bias()[i];
    }
    const auto count = static_cast<size_t>(shape.count());
    INTAGLIO_ASSIGN(AlignedBuffer sum, AlignedBuffer::allocate(count * sizeof(float)));
    convert_to_f32(tensor.view.data, tensor.view.dtype, sum.as<float>(), count);
    for (size_t i = 0; i < count; ++i)
      sum.as<float>()[i] += f.use->strength * values[static_cast<size_t>(f.first) + i];
    tensor.view = {sum.data(), DType::kF32, shape};
    tensor.memory = std::move(sum);
  }
  return {};
}

std::vector<Adapters::Place> Adapters::side_places(const AdaptedLinear& linear) const {
  std::vector<Place> places;
  for (const AdapterUse& use : uses_) {
    int64_t first = 0;
    for (size_t i = 0; i < linear.names.size(); ++i) {
      const int64_t n = linear.rows[i];
      std::vector<Found> found;
      if (!merges(linear.names[i])) find_of(use, linear.names[i], n, found);
      for (const Found& f : found) {
        if (!f.module->changes_weight()) continue;
        Place* const last = places.empty() ? nullptr : &places.back();
        const bool goes_on = last != nullptr && last->use == &use && last->module == f.module &&
                             last->from + last->count == f.first &&
                             last->first + last->count == first;
        if (goes_on) {
          last->count += n;
        } else {
          places.push_back({&use, f.module, f.first, first, n});
        }
      }
      first += n;
    }
  }
  return places;
}

int64_t Adapters::side_ranks(const AdaptedLinear& linear) const {
  int64_t ranks = 0;
  for (const Place& place : side_places(linear)) {
    const TensorEntry* const down = place.module->at(AdapterLeaf::kDown);
    if (down != nullptr) ranks += down->view.shape[0];
  }
  return ranks;
}

bool Adapters::side_has_bias(const AdaptedLinear& linear) const {
  const std::vector<Place> places = side_places(linear);
  return std::any_of(places.begin(), places.end(), [](const Place& place) {
    return place.module->at(AdapterLeaf::kUpBias) != nullptr;
  });
}

Expected<std::shared_ptr<const SideBranch>> Adapters::side_branch(const Context& context,
                                                                  const LinearWeights& weights,
                                                                  const AdaptedLinear& linear,
                                                                  DType dtype) const {
  std::deque<AdapterNumbers> numbers;
  std::vector<SidePart> parts;
  for (const Place& place : side_places(linear)) {
    INTAGLIO_ASSIGN(AdapterNumbers read, place.use->file->read_numbers(*place.module));
    numbers.push_back(std::move(read));
    const AdapterNumbers& of = numbers.back();
    parts.push_back({.down = {of.down().data(), DType::kF32, Shape{of.rank(), of.k()}},
                     .up = {of.up().data() + place.from * of.rank(), DType::kF32,
                            Shape{place.count, of.rank()}},
                     .scale = place.use->strength * of.factor(),
                     .first = place.first,
                     .bias = of.bias().empty() ? TensorView{}
                                               : TensorView{of.bias().data() + place.from,
                                                            DType::kF32, Shape{place.count}}});
  }
  return make_side_branch(context, weights, linear.rows, parts, dtype);
}

// ---- AdapterMatch

Status AdapterMatch::linear(const std::string& module, const Shape& shape, bool has_bias) {
  for (const Adapters::Found& f : adapters_.find(module, shape[0])) {
    const TensorEntry* const bias = f.module->at(AdapterLeaf::kDiffBias);
    for (const TensorEntry* const entry : f.module->tensors)
      if (entry != nullptr && entry != bias && f.module->changes_weight()) tensors_.insert(entry);
    if (f.module->changes_weight()) {
      const Shape whole{shape[0] * f.parts, shape[1]};
      INTAGLIO_ASSIGN(const AdapterShape found, f.use->file->shape_of(*f.module));
      if (found.n != whole[0] || found.k != whole[1])
        return wrong_shape(*f.use, *f.module, found, module, whole);
    }
    const TensorEntry* const up_bias = f.module->at(AdapterLeaf::kUpBias);
    if (up_bias != nullptr && !has_bias && adapters_.merges(module)) {
      return make_error(ErrorCode::kUnsupported,
                        "{}: {}: another adapter of {} is merged into its weight, so this one is "
                        "too; expected a linear with a bias to add it to",
                        f.use->file->path().string(), printable(up_bias->name), module);
    }
    if (bias == nullptr || !has_bias) continue;
    tensors_.insert(bias);
    if (is_weight_float(*bias) && bias->view.shape == Shape{shape[0] * f.parts}) continue;
    return make_error(ErrorCode::kShapeMismatch,
                      "{}: {}: found {}, {} of the model takes floats {}",
                      f.use->file->path().string(), printable(bias->name), type_and_shape(*bias),
                      module, to_string(Shape{shape[0] * f.parts}));
  }
  return {};
}

Status AdapterMatch::vector(const std::string& name, const Shape& shape) {
  const auto [module, leaf] = leafed(name);
  for (const Adapters::Found& f : adapters_.find(module, shape[0])) {
    const TensorEntry* const entry = f.module->at(leaf);
    if (entry == nullptr) continue;
    tensors_.insert(entry);
    if (is_weight_float(*entry) && entry->view.shape == shape && f.parts == 1) continue;
    return make_error(ErrorCode::kShapeMismatch,
                      "{}: {}: found {}, {} of the model takes floats {}",
                      f.use->file->path().string(), printable(entry->name), type_and_shape(*entry),
                      name, to_string(shape));
  }
  return {};
}

}  // namespace intaglio
