#include "models/checkpoint_diff.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "core/parallel_tasks.h"
#include "models/part_modules.h"
#include "models/qwen3/text_encoder.h"

namespace intaglio {
namespace {

// Of each side that are floats at the same time.
constexpr int64_t kChunkElements = int64_t{4} << 20;

// A tensor under the model's own name: all of a stored one, or one of so many equal runs of rows.
struct Piece {
  std::string stored;                   // a linear's module, else the tensor
  const LinearEntry* linear = nullptr;  // else `entry`
  const TensorEntry* entry = nullptr;
  int part = 0, parts = 1;

  int64_t rows() const { return linear != nullptr ? linear->n / parts : 0; }
  // As it lies in the file; of a piece of several the rows that are its own.
  Shape shape() const {
    if (linear != nullptr) return Shape{rows(), linear->k};
    Shape shape = entry->shape();
    if (parts > 1) shape.dims[0] /= parts;
    return shape;
  }
};
using Pieces = std::map<std::string, Piece>;

struct OwnName {
  std::string module;
  int part = 0, parts = 1;
  std::string_view leaf = {};  // ModuleAlias::leaf
};

// The module whose stored name under the alias is `stored`; nullopt: none.
std::optional<std::string> own_name(std::string_view stored, const ModuleAlias& alias) {
  const size_t star = alias.stored.find('*');
  if (star == std::string_view::npos) {
    if (!ends_with_components(stored, alias.stored)) return std::nullopt;
    stored.remove_suffix(alias.stored.size());
    return fmt::format("{}{}", stored, alias.module);
  }
  const std::string_view head = alias.stored.substr(0, star), tail = alias.stored.substr(star + 1);
  if (!stored.starts_with(head) || !stored.ends_with(tail) ||
      stored.size() <= head.size() + tail.size())
    return std::nullopt;
  const std::string_view number =
      stored.substr(head.size(), stored.size() - head.size() - tail.size());
  if (number.find('.') != std::string_view::npos) return std::nullopt;
  const size_t place = alias.module.find('*');
  return fmt::format("{}{}{}", alias.module.substr(0, place), number,
                     alias.module.substr(place + 1));
}

std::vector<OwnName> own_names(std::string_view module, std::span<const ModuleAlias> aliases) {
  std::vector<OwnName> names;
  for (const ModuleAlias& alias : aliases)
    if (std::optional<std::string> name = own_name(module, alias))
      names.push_back({std::move(*name), alias.part, alias.parts, alias.leaf});
  if (!names.empty()) return names;
  // A text encoder's names begin in more than one way.
  for (const std::string_view prefix : qwen3::kWeightPrefixes) {
    if (prefix.empty() || !module.starts_with(prefix)) continue;
    return {{std::string(module.substr(prefix.size()))}};
  }
  return {{std::string(module)}};
}

// Those of the model that either is of; else the text encoders', whose stored names are no other's.
std::span<const ModuleAlias> aliases_of(const StoredWeights& a, const StoredWeights& b) {
  for (const StoredWeights* const weights : {&a, &b}) {
    const auto modules = find_part_modules(weights->tensors());
    if (modules && !modules->aliases.empty()) return modules->aliases;
  }
  return qwen3::weight_aliases();
}

// Whether a tensor is the weight of a linear, or what a format puts beside or in place of it.
bool is_of_linear(const StoredWeights& weights, std::string_view name) {
  static const std::vector<std::string_view> parts = linear_parts();
  for (size_t dot = name.rfind('.'); dot != std::string_view::npos && dot > 0;
       dot = name.rfind('.', dot - 1)) {
    if (weights.find_linear(name.substr(0, dot)) == nullptr) continue;
    const std::string_view leaf = name.substr(dot + 1);
    return leaf == "weight" || leaf.starts_with("weight.") ||
           std::find(parts.begin(), parts.end(), leaf) != parts.end();
  }
  return false;
}

// Under all the model's names for `module`; rows that do not divide stay whole, as they are called.
void add_pieces(std::string_view module, std::string_view leaf, int64_t rows, const Piece& whole,
                std::span<const ModuleAlias> aliases, Pieces& pieces) {
  for (const OwnName& own : own_names(module, aliases)) {
    Piece piece = whole;
    if (own.parts > 1 && (rows == 0 || rows % own.parts != 0)) {
      pieces.emplace(fmt::format("{}{}", module, leaf), piece);
      return;
    }
    piece.part = own.part;
    piece.parts = own.parts;
    const bool renamed = !own.leaf.empty() && leaf.substr(leaf.empty() ? 0 : 1) == own.leaf;
    pieces.emplace(own.module + (renamed ? ".weight" : std::string(leaf)), std::move(piece));
  }
}

Pieces pieces_of(const StoredWeights& weights, std::span<const ModuleAlias> aliases) {
  Pieces pieces;
  for (const auto& [module, linear] : weights.linears())
    add_pieces(module, ".weight", linear.n, {.stored = module, .linear = &linear}, aliases, pieces);
  const std::vector<std::string_view> markers = checkpoint_markers();
  for (const auto& [name, entry] : weights.tensors().tensors()) {
    const bool is_marker = std::find(markers.begin(), markers.end(), name) != markers.end();
    if (is_marker || is_of_linear(weights, name)) continue;
    const size_t dot = std::min(name.rfind('.'), name.size());
    const std::string_view view = name;
    const int64_t rows = entry->view.shape.rank > 0 ? entry->view.shape[0] : 0;
    add_pieces(view.substr(0, dot), view.substr(dot), rows, {.stored = name, .entry = entry},
               aliases, pieces);
  }
  return pieces;
}

// What both sides have of a linear, without what pads either; nullopt: other shapes.
std::optional<Shape> common_shape(const Piece& a, const Piece& b) {
  const Shape common{std::min(a.rows(), b.rows()), std::min(a.linear->k, b.linear->k)};
  const auto fits = [&](const Piece& piece) {
    const int64_t most = piece.linear->padding;
    return piece.rows() - common[0] < most && piece.linear->k - common[1] < most;
  };
  if (fits(a) && fits(b)) return common;
  return std::nullopt;
}

Expected<LoadedLinear> load_rows(const Context& context, const StoredWeights& weights,
                                 const Piece& piece, int64_t first, int64_t count, int64_t k) {
  return weights.linear(piece.stored, &context, {piece.part * piece.rows() + first, count, k});
}

void add_values(const float* reference, const float* other, int64_t count, SquaredError& sum) {
  sum.values += count;
  for (int64_t i = 0; i < count; ++i) {
    const double d = static_cast<double>(other[i]) - static_cast<double>(reference[i]);
    sum.difference += d * d;
    sum.norm += static_cast<double>(reference[i]) * static_cast<double>(reference[i]);
  }
}

struct Side {
  const StoredWeights* weights;
  const Piece* piece;
};

Expected<SquaredError> compare_linears(const Context& context, const Side& a, const Side& b,
                                       const Shape& shape) {
  const int64_t n = shape[0], k = shape[1];
  const int64_t chunk = std::max<int64_t>(1, kChunkElements / k);
  SquaredError sum;
  for (int64_t first = 0; first < n; first += chunk) {
    const int64_t count = std::min(chunk, n - first);
    INTAGLIO_ASSIGN(const LoadedLinear w,
                    load_rows(context, *a.weights, *a.piece, first, count, k));
    INTAGLIO_ASSIGN(const LoadedLinear v,
                    load_rows(context, *b.weights, *b.piece, first, count, k));
    std::vector<SquaredError> rows(static_cast<size_t>(count));
    const int64_t grain = std::max<int64_t>(1, kDecodedPiece / k);
    INTAGLIO_TRY(parallel_tasks(context, count, grain, [&](int64_t begin, int64_t end, int) {
      std::vector<float> reference(static_cast<size_t>(k)), other(static_cast<size_t>(k));
      for (int64_t row = begin; row < end; ++row) {
        dequantize_row(w.linear, row, reference.data());
        dequantize_row(v.linear, row, other.data());
        add_values(reference.data(), other.data(), k, rows[static_cast<size_t>(row)]);
      }
    }));
    for (const SquaredError& row : rows) sum.add(row);
  }
  return sum;
}

bool is_floats(const Piece& piece) {
  return piece.linear != nullptr ||
         (piece.entry->foreign.empty() && is_read_as_floats(*piece.entry));
}

// Of a tensor that is no linear to at least one side: norms, biases, kernels of convolutions.
Expected<std::vector<float>> floats_of(const Context& context, const Side& side) {
  const Piece& piece = *side.piece;
  const auto count = static_cast<size_t>(piece.shape().count());
  std::vector<float> values(count);
  if (piece.linear != nullptr) {
    const int64_t k = piece.linear->k;
    INTAGLIO_ASSIGN(const LoadedLinear w,
                    load_rows(context, *side.weights, piece, 0, piece.rows(), k));
    for (int64_t row = 0; row < piece.rows(); ++row)
      dequantize_row(w.linear, row, values.data() + row * k);
    return values;
  }
  INTAGLIO_ASSIGN(const Tensor tensor, side.weights->tensor(piece.stored));
  const size_t bytes = count * dtype_size(tensor.view.dtype);
  convert_to_f32(tensor.view.as<std::byte>() + static_cast<size_t>(piece.part) * bytes,
                 tensor.view.dtype, values.data(), count);
  return values;
}

std::vector<int64_t> sides_above_one(const Shape& shape) {
  std::vector<int64_t> sides;
  for (int i = 0; i < shape.rank; ++i)
    if (shape[i] != 1) sides.push_back(shape[i]);
  return sides;
}

std::string described(const Piece& piece) {
  if (piece.linear != nullptr) return fmt::format("a weight {}", to_string(piece.shape()));
  if (!piece.entry->foreign.empty()) return piece.entry->foreign;
  return fmt::format("{} {}", dtype_name(piece.entry->view.dtype), to_string(piece.shape()));
}

// nullopt: it cannot be done.
Expected<std::optional<SquaredError>> compare(const Context& context, const Side& a,
                                              const Side& b) {
  if (a.piece->linear != nullptr && b.piece->linear != nullptr) {
    const std::optional<Shape> shape = common_shape(*a.piece, *b.piece);
    if (!shape) return std::optional<SquaredError>();
    return compare_linears(context, a, b, *shape);
  }
  if (!is_floats(*a.piece) || !is_floats(*b.piece) ||
      sides_above_one(a.piece->shape()) != sides_above_one(b.piece->shape()))
    return std::optional<SquaredError>();
  INTAGLIO_ASSIGN(const std::vector<float> reference, floats_of(context, a));
  INTAGLIO_ASSIGN(const std::vector<float> other, floats_of(context, b));
  SquaredError sum;
  add_values(reference.data(), other.data(), static_cast<int64_t>(reference.size()), sum);
  return sum;
}

}  // namespace

double SquaredError::relative() const {
  const double error = norm > 0.0 ? std::sqrt(difference / norm) : std::sqrt(difference);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

void SquaredError::add(const SquaredError& more) {
  values += more.values;
  difference += more.difference;
  norm += more.norm;
}

Expected<CheckpointDifference> diff_checkpoints(
    const Context& context, const StoredWeights& reference, const StoredWeights& other,
    const std::function<void(int64_t, int64_t)>& progress) {
  const std::span<const ModuleAlias> aliases = aliases_of(reference, other);
  const Pieces ours = pieces_of(reference, aliases), theirs = pieces_of(other, aliases);
  CheckpointDifference result;
  for (const auto& [name, piece] : theirs)
    if (!ours.contains(name)) result.only_other.push_back(name);
  int64_t done = 0;
  for (const auto& [name, piece] : ours) {
    progress(done++, static_cast<int64_t>(ours.size()));
    INTAGLIO_TRY(check_cancelled(context));
    const auto found = theirs.find(name);
    if (found == theirs.end()) {
      result.only_reference.push_back(name);
      continue;
    }
    INTAGLIO_ASSIGN(const std::optional<SquaredError> error,
                    compare(context, {&reference, &piece}, {&other, &found->second}));
    if (!error) {
      result.not_compared.push_back(
          {name, fmt::format("the reference has {}, the other {}", described(piece),
                             described(found->second))});
      continue;
    }
    const bool is_linear = piece.linear != nullptr && found->second.linear != nullptr;
    (is_linear ? result.linears : result.others).add(*error);
    result.tensors.push_back({name, is_linear, *error});
  }
  progress(done, done);
  std::stable_sort(result.tensors.begin(), result.tensors.end(),
                   [](const TensorDifference& a, const TensorDifference& b) {
                     return a.error.relative() > b.error.relative();
                   });
  return result;
}

}  // namespace intaglio
