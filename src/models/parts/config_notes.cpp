#include "models/parts/config_notes.h"

namespace intaglio {
namespace {

using enum KeyRole;

constexpr std::string_view kQuantized =
    "weights quantized by another program are not read; take a checkpoint in bf16, fp16 or fp32 "
    "(int8, nf4 and fp8 are made at loading)";

// What writers of configs note down beside the settings.
const ConfigTable& notes() {
  static const ConfigTable table{{"_diffusers_version", kHarmless},
                                 {"_name_or_path", kHarmless},
                                 {"_commit_hash", kHarmless},
                                 {"dtype", kHarmless},
                                 {"torch_dtype", kHarmless},
                                 {"transformers_version", kHarmless},
                                 {"quantization_config", kOnly, kNull, kQuantized},
                                 {"quantization", kOnly, kNull, kQuantized},
                                 {"ideogram_fp8_weight_only", kOnly, kFalse, kQuantized}};
  return table;
}

}  // namespace

ConfigTable with_notes(ConfigTable table) {
  table.insert(table.end(), notes().begin(), notes().end());
  return table;
}

}  // namespace intaglio
