// A checkpoint of any format, as int8 rows that this engine reads, and ComfyUI (io/formats/comfy.h)
// or diffusers (io/formats/sdnq.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.h"
#include "core/status.h"
#include "io/formats/stored_weights.h"
#include "models/part_modules.h"
#include "models/parts/adapters.h"
#include "models/smoothing.h"

namespace intaglio {

class SafetensorsWriter;

enum class QuantizeScheme {
  kRow,     // a scale a row
  kConvRot  // the same of rows that are turned first (quant/rotation.h)
};

// Who reads it: what modules are called, and what stands beside their weights.
enum class CheckpointLayout {
  kComfy,     // the names of the models' publishers, q, k and v fused; ComfyUI's descriptors
  kDiffusers  // those of diffusers, q, k and v apart; SDNQ's scales and config
};

struct QuantizeOptions {
  QuantizeScheme scheme = QuantizeScheme::kConvRot;
  // kConvRot: each linear's group is the largest of 4^n up to this one that divides its columns; a
  // linear that none divides is not turned.
  int64_t group = 256;
  CheckpointLayout layout = CheckpointLayout::kComfy;
  // Patterns of linears that stay floats, by any of their names.
  std::vector<std::string> keep{};
  // What its linears and vectors are multiplied by; null: nothing.
  std::shared_ptr<const FoldedSmoothing> smoothing{};
  // Rows that linears have read, F32 [any, k], by the model's own names: these are rounded by what
  // their outputs lose (quant/gptq.h), the others to nearest.
  std::map<std::string, std::shared_ptr<const std::vector<float>>> inputs{};
  // Merged into the weights in floats, before these are quantized (docs/lora.md): those that the
  // files have for `adapter_part`, "transformer" or "unconditional_transformer", a literal.
  std::vector<AdapterUse> adapters{};
  std::string_view adapter_part = "transformer";
  // Bytes of a file's tensors; more go into shards with an index, each of one tensor at least. 0:
  // one file.
  uint64_t max_shard = 0;
};

// In a file's header: "NAME:STRENGTH, ..." of the adapters that are merged in.
inline constexpr std::string_view kAdaptersKey = "intaglio_lora";

struct QuantizeReport {
  int64_t quantized = 0, turned = 0, smoothed = 0, fitted = 0, floats = 0;  // linears
  int64_t shards = 1;
  uint64_t bytes = 0;  // of all files
  bool resumed = false;
};

class CheckpointQuantizer {
 public:
  // Plans every tensor of the new file; reads no weight. kInvalidArgument for a pattern of `keep`
  // that nothing matches and for adapters on a text encoder, kBadFormat where q, k and v do not fit
  // together, kUnsupported for checkpoints of no known model, and what AdapterMatch says.
  static Expected<CheckpointQuantizer> plan(std::shared_ptr<const Checkpoint> checkpoint,
                                            const QuantizeOptions& options);

  const PartModules& modules() const { return modules_; }
  const Checkpoint& source() const { return *checkpoint_; }
  // Equal texts: equal files.
  Expected<std::string> identity() const;
  // The linears that become int8, under the model's own names, q, k and v apart, and the bytes that
  // the files grow by, headers apart, for each that stays floats.
  std::map<std::string, uint64_t> quantized() const;
  // Of the files, their headers apart.
  uint64_t bytes() const;
  // JSON: what config.json beside the files has to say as its "quantization_config". Empty: nothing.
  std::string quantization_config() const;
  // The tensors of the adapters that are of a module here (models/parts/unmatched_adapters.h).
  const std::set<const TensorEntry*>& matched_adapters() const { return matched_; }
  // What is written for `target`, "<stem>.safetensors": that file, or
  // "<stem>-00001-of-0000N.safetensors" and so on and last the index.
  std::vector<std::filesystem::path> files(const std::filesystem::path& target) const;

  // Called with tensors done and all of them.
  using Progress = std::function<void(int64_t, int64_t)>;
  // Writes the files, or goes on with those that an earlier call was ended in (SafetensorsWriter).
  // Rows are shared among the context's threads; while a linear is quantized, the one before is
  // written, so that two are in memory.
  Expected<QuantizeReport> write(const Context& context, const std::filesystem::path& target,
                                 const Progress& progress) const;

 private:
  // Rows of a tensor of the checkpoint.
  struct Piece {
    std::string module;
    int64_t first = 0, count = 0;
    std::string own;  // the model's own name of these rows
  };
  struct Linear {
    std::string name;
    std::vector<Piece> pieces;
    int64_t n = 0, k = 0;
    bool quantized = false, float_product = false;
    Rotation rotation = {};
    DType floats = DType::kBF16;  // unless quantized
    std::string descriptor = {};
  };
  // Rows of tensors that are no linear's weight, one after the other, as they are stored.
  struct Other {
    std::string name;
    struct Part {
      const TensorEntry* entry;
      int64_t first, count;  // of the first dimension; all of it where that is 0
      std::string own;       // under the model's own name
    };
    std::vector<Part> parts;
    DType dtype;
    Shape shape;
  };
  // What a tensor of the new file is made of: index of `linears_` or `others_`.
  enum class Role { kWeight, kScales, kDescriptor, kOther };
  struct Output {
    Role role;
    size_t index;
  };
  // A module under the model's own name: all of the stored one, or a part of its rows.
  struct Canonical {
    std::string module;
    int part = 0, parts = 1;
    std::string leaf = {};  // ModuleAlias::leaf
  };
  // A tensor that is renamed with its leaf: its own name, that in the new file, and the shape
  // there.
  struct Lone {
    std::string own, target;
    Shape shape;
  };
  // Memory is kept for the next linear.
  struct Numbers {
    AlignedBuffer values;
    size_t bytes = 0;  // of values that are used
    std::vector<float> scales;
  };

  static constexpr const char* kLayersKey = "_quantization_metadata";

  CheckpointQuantizer() = default;
  std::vector<Canonical> canonical(std::string_view module) const;
  Canonical target(const std::string& module) const;
  Status plan_linears(const QuantizeOptions& options);
  Status check_padding(const LinearEntry& entry) const;
  Status plan_others();
  std::span<const float> factors(FoldedSmoothing::Values FoldedSmoothing::*kind,
                                 const std::string& name) const;
  Status finish_linear(Linear& linear, std::vector<std::string> names,
                       const QuantizeOptions& options);
  Status check_keep(const QuantizeOptions& options) const;
  bool is_output_of_linear(std::string_view name) const;
  void add_output(Role role, size_t index, TensorEntry entry);
  std::optional<Lone> lone(const std::string& name, const TensorEntry& entry) const;
  void list_outputs();
  Status match_adapters(const QuantizeOptions& options);
  static Shape vector_shape(const Other& other, const Other::Part& part);
  void cut_shards(uint64_t most);
  std::string layers_text(size_t begin, size_t end) const;
  std::map<std::string, std::string> metadata_of(size_t begin, size_t end) const;
  Status write_tensors(const Context& context, SafetensorsWriter& writer, size_t begin, size_t end,
                       const Progress& progress) const;
  Status write_index(std::span<const std::filesystem::path> files) const;
  const std::vector<float>* inputs_of(const Linear& linear) const;
  Status make_numbers(const Context& context, const Linear& linear, Numbers& out) const;
  Expected<std::vector<std::byte>> bytes_of(const Other& other) const;
  std::string job() const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::shared_ptr<const StoredWeights> stored_;
  PartModules modules_;
  CheckpointLayout layout_ = CheckpointLayout::kComfy;
  std::shared_ptr<const FoldedSmoothing> smoothing_;
  std::map<std::string, std::shared_ptr<const std::vector<float>>> inputs_;
  std::vector<Linear> linears_;
  std::vector<Other> others_;
  std::vector<Output> outputs_;
  std::vector<TensorEntry> entries_;  // of outputs_
  std::vector<size_t> shards_;        // where each begins in outputs_, and their end
  std::map<std::string, std::string> metadata_;
  Adapters adapters_;
  std::string adapters_text_;  // files and strengths
  std::set<const TensorEntry*> matched_;
  std::set<std::string> linear_names_;  // all names of linears, for `keep`
};

}  // namespace intaglio
