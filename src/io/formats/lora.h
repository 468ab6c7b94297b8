// Adapters of a model's linears (LoRA and its kin) as other programs write them.
//
//   W' = W + strength * f * dW,   f = alpha / r, 1 where nothing says alpha
//   low rank  dW = B A            lora_A|B.weight, lora_down|up.weight; r = rows of A
//   LoHa      dW = (a1 b1) o (a2 b2), element by element              ; r = rows of b1
//   LoKr      dW = kron(w1, w2), each whole or a product a b          ; r = rows of b2, else of b1;
//                                                                     both whole: f = 1
//   diff      dW as it is, and diff_b of the bias
//   DoRA      V = W + f * dW, W' = W + strength * (V * dora / (|row of W| + 1.2e-7) - W)
// as ComfyUI has them (docs/lora.md), and as PEFT does
//   DoRA      W' = W + strength * (V * lora_magnitude_vector / |row of V| - W)
//   bias      y += strength * f * lora_B.bias, beside a low rank alone
// Names are
//   transformer.P.  diffusion_model.P.  base_model.model.P.  lora_unet_P with _ for .
// A file is untrusted: what a module's tensors claim is checked before anything of their size is
// made.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "io/safetensors.h"

namespace intaglio {

// What a tensor is to its module. kOther: of a form that is not computed here.
enum class AdapterLeaf : uint8_t {
  kDown,
  kUp,
  kAlpha,
  kDora,
  kHadaW1A,
  kHadaW1B,
  kHadaW2A,
  kHadaW2B,
  kLokrW1,
  kLokrW1A,
  kLokrW1B,
  kLokrW2,
  kLokrW2A,
  kLokrW2B,
  kDiff,
  kDiffBias,
  kUpBias,
  kMagnitude,
  kOther
};
inline constexpr size_t kAdapterLeaves = 19;

// The tensors of one module.
struct AdapterModule {
  std::string name;  // without prefix, dots or underscores as the file has them
  std::array<const TensorEntry*, kAdapterLeaves> tensors{};
  std::optional<double> factor;  // f as the header says it

  const TensorEntry* at(AdapterLeaf leaf) const { return tensors[static_cast<size_t>(leaf)]; }
  bool changes_weight() const;  // else the bias alone
  // Whether it is B A, perhaps with a bias, and no more: computed beside the linear. Others are
  // merged into W.
  bool is_low_rank() const;
};

// Of a module's dW, checked without reading its numbers.
struct AdapterShape {
  int64_t n = 0, k = 0;
  int64_t rank = 0;  // of low rank
};

// The numbers of a module.
class AdapterNumbers {
 public:
  int64_t n() const { return shape_.n; }
  int64_t k() const { return shape_.k; }
  int64_t rank() const { return shape_.rank; }
  float factor() const { return factor_; }
  const std::vector<float>& down() const { return down_; }  // [rank, k] of low rank
  const std::vector<float>& up() const { return up_; }      // [n, rank]
  const std::vector<float>& bias() const { return bias_; }  // [n] of low rank, or empty

  // W' of row `row` of dW in place of `w` [k]. `work`: 3 * k floats.
  void merge_row(int64_t row, float strength, float* w, float* work) const;

 private:
  friend class AdapterFile;
  enum class Form : uint8_t { kLowRank, kLoha, kLokr, kDiff };

  void add_delta(Form form, int64_t row, float scale, float* out, float* work) const;

  AdapterShape shape_;
  float factor_ = 1.0f;
  std::vector<Form> forms_;
  std::vector<float> down_, up_;
  std::array<std::vector<float>, 4> hada_;  // w1_a, w1_b, w2_a, w2_b
  int64_t hada_ranks_[2] = {};
  std::vector<float> lokr1_, lokr2_;  // [n / n2, k / k2], [n2, k2]
  int64_t lokr_n2_ = 0, lokr_k2_ = 0;
  std::vector<float> diff_, dora_, bias_;
  bool dora_of_sum_ = false;  // divides by the norms of V's rows, not of W's
};

class AdapterFile {
 public:
  static Expected<std::shared_ptr<const AdapterFile>> open(const std::filesystem::path& path);
  // kBadFormat if the header's notes or two names for one tensor contradict.
  static Expected<std::shared_ptr<const AdapterFile>> read(
      std::shared_ptr<const SafetensorsFile> file);

  const std::filesystem::path& path() const { return file_->path(); }
  const SafetensorsFile& file() const { return *file_; }
  // Whether both were read of one file that nobody has written in between.
  bool is_same(const AdapterFile& other) const { return identity_ == other.identity_; }
  // The adapter of "layers.0.attention.to_q" in the part "transformer" or
  // "unconditional_transformer"; nullptr: none.
  const AdapterModule* find(std::string_view part, std::string_view module) const;
  std::vector<const AdapterModule*> modules() const;
  // What the names look like, for a file of which nothing fits: "a FLUX transformer"; empty: no
  // idea.
  std::string seems_for() const;

  // kBadFormat, kShapeMismatch or kUnsupported naming file and tensor, what was found and what was
  // expected. Of a module that changes the weight.
  Expected<AdapterShape> shape_of(const AdapterModule& module) const;
  // Of a module whose shape was checked. kBadFormat for a NaN or an Inf.
  Expected<AdapterNumbers> read_numbers(const AdapterModule& module) const;
  // kDiffBias as floats.
  Expected<std::vector<float>> read_finite(const TensorEntry& entry) const;

 private:
  Status take(const TensorEntry& entry);
  Status read_factors();
  template <typename... Args>
  tl::unexpected<Error> wrong(const TensorEntry& entry, fmt::format_string<Args...> form,
                              Args&&... args) const;
  Expected<std::array<int64_t, 2>> matrix(const TensorEntry& entry) const;
  Expected<std::array<int64_t, 2>> lokr_factor(const AdapterModule& module, int which) const;
  Expected<std::vector<float>> lokr_numbers(const AdapterModule& module, int which) const;
  Expected<double> alpha_of(const AdapterModule& module) const;

  std::shared_ptr<const SafetensorsFile> file_;
  std::string identity_;                          // its place, size and time
  bool from_peft_ = false;                        // names begin with "base_model.model."
  std::map<std::string, AdapterModule> modules_;  // by part, kind of name and name
};

}  // namespace intaglio
