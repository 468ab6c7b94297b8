#include "io/formats/lora.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/finite.h"
#include "io/formats/add_rows.h"
#include "io/formats/tensor_set.h"
#include "io/json_config.h"
#include "io/printable.h"

namespace intaglio {
namespace {

using Leaf = AdapterLeaf;

struct Suffix {
  std::string_view text;
  Leaf leaf;
};
// Longer ones before their ends.
constexpr Suffix kSuffixes[] = {{".lora_A.weight", Leaf::kDown},
                                {".lora_A.default.weight", Leaf::kDown},
                                {".lora_down.weight", Leaf::kDown},
                                {".lora.down.weight", Leaf::kDown},
                                {".lora_B.weight", Leaf::kUp},
                                {".lora_B.default.weight", Leaf::kUp},
                                {".lora_up.weight", Leaf::kUp},
                                {".lora.up.weight", Leaf::kUp},
                                {".alpha", Leaf::kAlpha},
                                {".dora_scale", Leaf::kDora},
                                {".hada_w1_a", Leaf::kHadaW1A},
                                {".hada_w1_b", Leaf::kHadaW1B},
                                {".hada_w2_a", Leaf::kHadaW2A},
                                {".hada_w2_b", Leaf::kHadaW2B},
                                {".lokr_w1", Leaf::kLokrW1},
                                {".lokr_w1_a", Leaf::kLokrW1A},
                                {".lokr_w1_b", Leaf::kLokrW1B},
                                {".lokr_w2", Leaf::kLokrW2},
                                {".lokr_w2_a", Leaf::kLokrW2A},
                                {".lokr_w2_b", Leaf::kLokrW2B},
                                {".diff", Leaf::kDiff},
                                {".diff_b", Leaf::kDiffBias},
                                {".lora_mid.weight", Leaf::kOther},
                                {".lora_A.bias", Leaf::kOther},
                                {".lora_B.bias", Leaf::kUpBias},
                                {".lora_B.default.bias", Leaf::kUpBias},
                                {".lora_up.bias", Leaf::kUpBias},
                                {".lora_magnitude_vector", Leaf::kMagnitude},
                                {".lora_magnitude_vector.weight", Leaf::kMagnitude},
                                {".lora_magnitude_vector.default.weight", Leaf::kMagnitude},
                                {".hada_t1", Leaf::kOther},
                                {".hada_t2", Leaf::kOther},
                                {".lokr_t2", Leaf::kOther},
                                {".set_weight", Leaf::kOther},
                                {".reshape_weight", Leaf::kOther}};

constexpr std::string_view kPeftPrefix = "base_model.model.";

struct Prefix {
  std::string_view text, part;
  bool flat = false;  // '_' in place of '.' in what follows
};
constexpr Prefix kPrefixes[] = {{"unconditional_transformer.", "unconditional_transformer"},
                                {"transformer.", "transformer"},
                                {"model.diffusion_model.", "transformer"},
                                {"diffusion_model.", "transformer"},
                                {kPeftPrefix, "transformer"},
                                {"text_encoder.", "text_encoder"},
                                {"lora_te_", "text_encoder", true},
                                {"lora_te1_", "text_encoder", true},
                                {"lora_te2_", "text_encoder", true},
                                {"lora_unet_", "transformer", true},
                                {"lora_transformer_", "transformer", true},
                                {"lycoris_", "transformer", true},
                                {"", "transformer"}};

std::string key_of(std::string_view part, bool flat, std::string_view name) {
  return fmt::format("{}{}{}", part, flat ? '_' : '.', name);
}

const TensorEntry* tensor_of(const AdapterModule& module, Leaf leaf) { return module.at(leaf); }

Leaf lokr_leaf(int which, int offset) {
  return static_cast<Leaf>(static_cast<int>(which == 0 ? Leaf::kLokrW1 : Leaf::kLokrW2) + offset);
}

bool has_lokr(const AdapterModule& m) {
  for (int which = 0; which < 2; ++which)
    for (int offset = 0; offset < 3; ++offset)
      if (tensor_of(m, lokr_leaf(which, offset)) != nullptr) return true;
  return false;
}

bool has_hada(const AdapterModule& m) {
  for (const Leaf leaf : {Leaf::kHadaW1A, Leaf::kHadaW1B, Leaf::kHadaW2A, Leaf::kHadaW2B})
    if (m.at(leaf) != nullptr) return true;
  return false;
}

bool has_low_rank(const AdapterModule& m) {
  return m.at(Leaf::kDown) != nullptr || m.at(Leaf::kUp) != nullptr;
}

// Of a header's or a config's notes, in PEFT's words: alpha and rank, both of all modules and by
// name.
class PeftNotes {
 public:
  static Expected<PeftNotes> of(const JsonConfig& config, const std::string& prefix) {
    PeftNotes notes;
    INTAGLIO_ASSIGN(notes.rank_, config.number_or(prefix + "r", 0.0));
    INTAGLIO_ASSIGN(notes.alpha_, config.number_or(prefix + "lora_alpha", 0.0));
    INTAGLIO_ASSIGN(notes.root_, config.boolean_or(prefix + "use_rslora", false));
    INTAGLIO_TRY(notes.read_patterns(config, prefix + "rank_pattern", notes.ranks_));
    INTAGLIO_TRY(notes.read_patterns(config, prefix + "alpha_pattern", notes.alphas_));
    return notes;
  }
  // nullopt: the notes do not say.
  std::optional<double> factor(std::string_view name) const {
    const double alpha = look_up(alphas_, name, alpha_), rank = look_up(ranks_, name, rank_);
    if (!(alpha > 0.0) || !(rank > 0.0)) return std::nullopt;
    return alpha / (root_ ? std::sqrt(rank) : rank);
  }

 private:
  using Patterns = std::vector<std::pair<std::string, double>>;

  Status read_patterns(const JsonConfig& config, const std::string& key, Patterns& patterns) {
    if (!config.contains(key)) return {};
    INTAGLIO_ASSIGN(const JsonConfig object, config.object(key));
    for (const auto& [name, value] : object.json().items()) {
      INTAGLIO_ASSIGN(const double number, object.number(name));
      patterns.emplace_back(name, number);
    }
    return {};
  }
  static double look_up(const Patterns& patterns, std::string_view name, double otherwise) {
    for (const auto& [end, value] : patterns) {
      const bool whole = name.size() == end.size() ||
                         (name.size() > end.size() && name[name.size() - end.size() - 1] == '.');
      if (name.ends_with(end) && whole) return value;
    }
    return otherwise;
  }

  double rank_ = 0.0, alpha_ = 0.0;
  bool root_ = false;
  Patterns ranks_, alphas_;
};

}  // namespace

bool AdapterModule::changes_weight() const {
  return has_low_rank(*this) || has_hada(*this) || has_lokr(*this) || at(Leaf::kDiff) != nullptr ||
         at(Leaf::kDora) != nullptr || at(Leaf::kMagnitude) != nullptr ||
         at(Leaf::kUpBias) != nullptr || at(Leaf::kOther) != nullptr;
}

bool AdapterModule::is_low_rank() const {
  return has_low_rank(*this) && !has_hada(*this) && !has_lokr(*this) &&
         at(Leaf::kDiff) == nullptr && at(Leaf::kDora) == nullptr &&
         at(Leaf::kMagnitude) == nullptr;
}

Expected<std::shared_ptr<const AdapterFile>> AdapterFile::open(const std::filesystem::path& path) {
  INTAGLIO_ASSIGN(std::shared_ptr<const SafetensorsFile> file, SafetensorsFile::open(path));
  return read(std::move(file));
}

Expected<std::shared_ptr<const AdapterFile>> AdapterFile::read(
    std::shared_ptr<const SafetensorsFile> file) {
  auto adapter = std::make_shared<AdapterFile>();
  adapter->file_ = std::move(file);
  std::error_code ignored;
  const std::filesystem::path path = std::filesystem::absolute(adapter->path(), ignored);
  adapter->identity_ =
      fmt::format("{}\n{}\n{}", path.string(), std::filesystem::file_size(path, ignored),
                  std::filesystem::last_write_time(path, ignored).time_since_epoch().count());
  for (const TensorEntry& entry : adapter->file_->tensors()) INTAGLIO_TRY(adapter->take(entry));
  INTAGLIO_TRY(adapter->read_factors());
  return std::shared_ptr<const AdapterFile>(std::move(adapter));
}

// Tensors whose names end in no known leaf are nobody's: whoever lists what fits no module finds
// them in the file.
Status AdapterFile::take(const TensorEntry& entry) {
  const std::string_view full = entry.name;
  const auto* const suffix = std::find_if(
      std::begin(kSuffixes), std::end(kSuffixes),
      [&](const Suffix& s) { return full.size() > s.text.size() && full.ends_with(s.text); });
  if (suffix == std::end(kSuffixes)) return {};
  std::string_view name = full.substr(0, full.size() - suffix->text.size());
  const auto* const prefix =
      std::find_if(std::begin(kPrefixes), std::end(kPrefixes),
                   [&](const Prefix& p) { return name.starts_with(p.text); });
  name.remove_prefix(prefix->text.size());
  from_peft_ = from_peft_ || prefix->text == kPeftPrefix;
  AdapterModule& module = modules_[key_of(prefix->part, prefix->flat, name)];
  module.name = name;
  const TensorEntry*& place = module.tensors[static_cast<size_t>(suffix->leaf)];
  if (place != nullptr && suffix->leaf != Leaf::kOther) {
    return make_error(ErrorCode::kBadFormat, "{}: {} and {} are one tensor's name", path().string(),
                      printable(place->name), printable(entry.name));
  }
  place = &entry;
  return {};
}

// What diffusers writes into the header, and PEFT into a file beside.
Status AdapterFile::read_factors() {
  std::optional<PeftNotes> notes;
  const auto found = file_->metadata().find("lora_adapter_metadata");
  if (found != file_->metadata().end()) {
    INTAGLIO_ASSIGN(
        const JsonConfig json,
        JsonConfig::parse(found->second, path().string() + ": __metadata__.lora_adapter_metadata"));
    INTAGLIO_ASSIGN(notes, PeftNotes::of(json, "transformer."));
  } else if (from_peft_) {
    INTAGLIO_ASSIGN(const JsonConfig json,
                    JsonConfig::open(path().parent_path() / "adapter_config.json"));
    INTAGLIO_ASSIGN(notes, PeftNotes::of(json, ""));
  }
  if (!notes) return {};
  for (auto& [key, module] : modules_)
    if (key.starts_with("transformer.")) module.factor = notes->factor(module.name);
  return {};
}

const AdapterModule* AdapterFile::find(std::string_view part, std::string_view module) const {
  auto found = modules_.find(key_of(part, false, module));
  if (found != modules_.end()) return &found->second;
  std::string flat(module);
  std::replace(flat.begin(), flat.end(), '.', '_');
  found = modules_.find(key_of(part, true, flat));
  return found == modules_.end() ? nullptr : &found->second;
}

std::vector<const AdapterModule*> AdapterFile::modules() const {
  std::vector<const AdapterModule*> modules;
  for (const auto& [key, module] : modules_) modules.push_back(&module);
  return modules;
}

std::string AdapterFile::seems_for() const {
  struct Sign {
    std::string_view part_of_name, model;
  };
  // Those of several before those of one.
  static constexpr Sign kSigns[] = {{"double_blocks", "a FLUX transformer"},
                                    {"single_blocks", "a FLUX transformer"},
                                    {"single_transformer_blocks", "a FLUX transformer"},
                                    {"joint_blocks", "a Stable Diffusion 3 transformer"},
                                    {"input_blocks", "a Stable Diffusion UNet"},
                                    {"down_blocks", "a Stable Diffusion UNet"},
                                    {"transformer_blocks", "a transformer of diffusers' blocks"},
                                    {"noise_refiner", "Z-Image or Lumina"},
                                    {"adaln_modulation", "Ideogram 4"},
                                    {"text_encoder", "a text encoder"},
                                    {"lora_te", "a text encoder"}};
  for (const Sign& sign : kSigns)
    for (const TensorEntry& entry : file_->tensors())
      if (entry.name.find(sign.part_of_name) != std::string::npos) return std::string(sign.model);
  return {};
}

template <typename... Args>
tl::unexpected<Error> AdapterFile::wrong(const TensorEntry& entry, fmt::format_string<Args...> form,
                                         Args&&... args) const {
  return make_error(ErrorCode::kBadFormat, "{}: {}: {}", path().string(), printable(entry.name),
                    fmt::format(form, std::forward<Args>(args)...));
}

// Rows and columns of a tensor that is a matrix of floats.
Expected<std::array<int64_t, 2>> AdapterFile::matrix(const TensorEntry& entry) const {
  const Shape& shape = entry.view.shape;
  if (!is_weight_float(entry) || shape.rank != 2 || shape[0] < 1 || shape[1] < 1)
    return wrong(entry, "found {}, expected a matrix of F32, F16 or BF16", type_and_shape(entry));
  return std::array<int64_t, 2>{shape[0], shape[1]};
}

// Rows and columns of w1 (0) or w2 (1), whole or of its two factors.
Expected<std::array<int64_t, 2>> AdapterFile::lokr_factor(const AdapterModule& m, int which) const {
  const TensorEntry* const whole = m.at(lokr_leaf(which, 0));
  const TensorEntry* const a = m.at(lokr_leaf(which, 1));
  const TensorEntry* const b = m.at(lokr_leaf(which, 2));
  if (whole != nullptr && a == nullptr && b == nullptr) return matrix(*whole);
  if (whole != nullptr || a == nullptr || b == nullptr) {
    return make_error(ErrorCode::kBadFormat,
                      "{}: {}: expected lokr_w{} or both lokr_w{}_a and lokr_w{}_b",
                      path().string(), printable(m.name), which + 1, which + 1, which + 1);
  }
  INTAGLIO_ASSIGN(const auto left, matrix(*a));
  INTAGLIO_ASSIGN(const auto right, matrix(*b));
  if (left[1] != right[0]) {
    return wrong(*b, "found {}, expected {} rows as {} has columns", type_and_shape(*b), left[1],
                 printable(a->name));
  }
  return std::array<int64_t, 2>{left[0], right[1]};
}

Expected<AdapterShape> AdapterFile::shape_of(const AdapterModule& m) const {
  // Products of two sizes of tensors that fit into a file stay within these bits.
  constexpr int64_t kMostSide = int64_t{1} << 30;
  std::vector<std::array<int64_t, 2>> found;
  std::vector<const TensorEntry*> of;
  AdapterShape shape;
  if (const TensorEntry* const other = m.at(Leaf::kOther)) {
    return make_error(ErrorCode::kUnsupported,
                      "{}: {}: adapters of this form are not computed here", path().string(),
                      printable(other->name));
  }
  // Both factors of a product, b's rows as many as a's columns.
  const auto product = [&](Leaf left, Leaf right) -> Expected<int64_t> {
    const TensorEntry *const a = m.at(left), *const b = m.at(right);
    if (a == nullptr || b == nullptr) {
      const TensorEntry& lone = a == nullptr ? *b : *a;
      return wrong(lone, "its other factor is missing");
    }
    INTAGLIO_ASSIGN(const auto rows, matrix(*a));
    INTAGLIO_ASSIGN(const auto columns, matrix(*b));
    if (rows[1] != columns[0]) {
      return wrong(*b, "found {}, expected {} rows as {} has columns", type_and_shape(*b), rows[1],
                   printable(a->name));
    }
    found.push_back({rows[0], columns[1]});
    of.push_back(a);
    return rows[1];
  };
  if (has_low_rank(m)) {
    INTAGLIO_ASSIGN(shape.rank, product(Leaf::kUp, Leaf::kDown));
  }
  if (has_hada(m)) {
    for (const auto& [a, b] :
         {std::pair(Leaf::kHadaW1A, Leaf::kHadaW1B), std::pair(Leaf::kHadaW2A, Leaf::kHadaW2B)}) {
      if (m.at(a) == nullptr && m.at(b) == nullptr) {
        return make_error(ErrorCode::kBadFormat, "{}: {}: one of LoHa's two products is missing",
                          path().string(), printable(m.name));
      }
      INTAGLIO_TRY(product(a, b));
    }
  }
  if (has_lokr(m)) {
    INTAGLIO_ASSIGN(const auto outer, lokr_factor(m, 0));
    INTAGLIO_ASSIGN(const auto inner, lokr_factor(m, 1));
    for (const int64_t side : {outer[0], outer[1], inner[0], inner[1]}) {
      if (side > kMostSide)
        return make_error(ErrorCode::kBadFormat, "{}: {}: a side of {}, expected at most {}",
                          path().string(), printable(m.name), side, kMostSide);
    }
    found.push_back({outer[0] * inner[0], outer[1] * inner[1]});
    of.push_back(m.at(Leaf::kLokrW2) != nullptr ? m.at(Leaf::kLokrW2) : m.at(Leaf::kLokrW2A));
  }
  if (const TensorEntry* const diff = m.at(Leaf::kDiff)) {
    INTAGLIO_ASSIGN(const auto sides, matrix(*diff));
    found.push_back(sides);
    of.push_back(diff);
  }
  const TensorEntry *const comfy = m.at(Leaf::kDora), *const peft = m.at(Leaf::kMagnitude);
  if (comfy != nullptr && peft != nullptr)
    return wrong(*peft, "stands beside {}, which is DoRA too", printable(comfy->name));
  const TensorEntry* const dora = comfy != nullptr ? comfy : peft;
  const TensorEntry* const bias = m.at(Leaf::kUpBias);
  if (found.empty() && dora != nullptr) return wrong(*dora, "stands without the factors it scales");
  if (found.empty() && bias != nullptr)
    return wrong(*bias, "stands without the factors it belongs to");
  if (found.empty()) {
    return make_error(ErrorCode::kBadFormat, "{}: {}: nothing that changes a weight",
                      path().string(), printable(m.name));
  }
  shape.n = found.front()[0];
  shape.k = found.front()[1];
  for (size_t i = 1; i < found.size(); ++i) {
    if (found[i] == found.front()) continue;
    return wrong(*of[i], "makes a weight [{}, {}], and {} one [{}, {}]", found[i][0], found[i][1],
                 printable(of.front()->name), shape.n, shape.k);
  }
  if (dora != nullptr && (!is_weight_float(*dora) || (dora->view.shape != Shape{shape.n, 1} &&
                                                      dora->view.shape != Shape{shape.n}))) {
    return wrong(*dora, "found {}, expected floats [{}, 1]", type_and_shape(*dora), shape.n);
  }
  if (bias != nullptr) {
    if (!m.is_low_rank())
      return make_error(ErrorCode::kUnsupported,
                        "{}: {}: found beside another form, expected beside low rank alone",
                        path().string(), printable(bias->name));
    if (!is_weight_float(*bias) || bias->view.shape != Shape{shape.n})
      return wrong(*bias, "found {}, expected floats [{}]", type_and_shape(*bias), shape.n);
  }
  INTAGLIO_TRY(alpha_of(m));
  return shape;
}

Expected<double> AdapterFile::alpha_of(const AdapterModule& m) const {
  const TensorEntry* const alpha = m.at(Leaf::kAlpha);
  if (alpha == nullptr) return 0.0;
  if (!is_weight_float(*alpha) || alpha->view.shape.count() != 1)
    return wrong(*alpha, "found {}, expected one float", type_and_shape(*alpha));
  INTAGLIO_ASSIGN(const std::vector<float> value, read_finite(*alpha));
  return static_cast<double>(value.front());
}

Expected<std::vector<float>> AdapterFile::read_finite(const TensorEntry& entry) const {
  INTAGLIO_ASSIGN(std::vector<float> values, read_floats(entry));
  if (!all_finite(values)) return wrong(entry, "holds an Inf or a NaN");
  return values;
}

// w1 or w2 as a whole.
Expected<std::vector<float>> AdapterFile::lokr_numbers(const AdapterModule& m, int which) const {
  if (const TensorEntry* const whole = m.at(lokr_leaf(which, 0))) return read_finite(*whole);
  const TensorEntry &left = *m.at(lokr_leaf(which, 1)), &right = *m.at(lokr_leaf(which, 2));
  INTAGLIO_ASSIGN(const std::vector<float> a, read_finite(left));
  INTAGLIO_ASSIGN(const std::vector<float> b, read_finite(right));
  const int64_t rows = left.view.shape[0], rank = left.view.shape[1], k = right.view.shape[1];
  std::vector<float> product(static_cast<size_t>(rows * k), 0.0f);
  for (int64_t r = 0; r < rows; ++r)
    add_rows(a.data() + r * rank, b.data(), rank, k, 1.0f, product.data() + r * k);
  return product;
}

Expected<AdapterNumbers> AdapterFile::read_numbers(const AdapterModule& m) const {
  using Form = AdapterNumbers::Form;
  AdapterNumbers numbers;
  INTAGLIO_ASSIGN(numbers.shape_, shape_of(m));
  int64_t rank = 0;  // what alpha is divided by; 0: f is 1
  if (has_low_rank(m)) {
    INTAGLIO_ASSIGN(numbers.down_, read_finite(*m.at(Leaf::kDown)));
    INTAGLIO_ASSIGN(numbers.up_, read_finite(*m.at(Leaf::kUp)));
    numbers.forms_.push_back(Form::kLowRank);
    rank = numbers.shape_.rank;
  }
  if (has_hada(m)) {
    for (size_t i = 0; i < 4; ++i) {
      const auto leaf = static_cast<Leaf>(static_cast<size_t>(Leaf::kHadaW1A) + i);
      INTAGLIO_ASSIGN(numbers.hada_[i], read_finite(*m.at(leaf)));
    }
    numbers.hada_ranks_[0] = rank = m.at(Leaf::kHadaW1B)->view.shape[0];
    numbers.hada_ranks_[1] = m.at(Leaf::kHadaW2B)->view.shape[0];
    numbers.forms_.push_back(Form::kLoha);
  }
  if (has_lokr(m)) {
    INTAGLIO_ASSIGN(const auto inner, lokr_factor(m, 1));
    numbers.lokr_n2_ = inner[0];
    numbers.lokr_k2_ = inner[1];
    INTAGLIO_ASSIGN(numbers.lokr1_, lokr_numbers(m, 0));
    INTAGLIO_ASSIGN(numbers.lokr2_, lokr_numbers(m, 1));
    numbers.forms_.push_back(Form::kLokr);
    for (const Leaf leaf : {Leaf::kLokrW1B, Leaf::kLokrW2B})
      if (m.at(leaf) != nullptr) rank = m.at(leaf)->view.shape[0];
  }
  if (const TensorEntry* const diff = m.at(Leaf::kDiff)) {
    INTAGLIO_ASSIGN(numbers.diff_, read_finite(*diff));
    numbers.forms_.push_back(Form::kDiff);
  }
  for (const Leaf leaf : {Leaf::kDora, Leaf::kMagnitude}) {
    if (m.at(leaf) == nullptr) continue;
    INTAGLIO_ASSIGN(numbers.dora_, read_finite(*m.at(leaf)));
    numbers.dora_of_sum_ = leaf == Leaf::kMagnitude;
  }
  if (const TensorEntry* const bias = m.at(Leaf::kUpBias)) {
    INTAGLIO_ASSIGN(numbers.bias_, read_finite(*bias));
  }
  INTAGLIO_ASSIGN(const double alpha, alpha_of(m));
  if (m.at(Leaf::kAlpha) != nullptr && rank > 0) {
    numbers.factor_ = static_cast<float>(alpha / static_cast<double>(rank));
  } else if (m.at(Leaf::kAlpha) == nullptr && rank > 0) {
    numbers.factor_ = static_cast<float>(m.factor.value_or(1.0));
  }
  return numbers;
}

}  // namespace intaglio
