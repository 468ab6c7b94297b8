// Row norms, gated residual and head norm with rope: the shared row kernels on AVX2.
#include "ops/cpu/avx2/norm_avx2.h"
// The rows are written over the pieces above.
#include "ops/cpu/norm_rows.h"

namespace intaglio {

void avx2_norm_row(const NormRowArgs& args) { norm_row(args); }

void avx2_gated_residual_row(const ResidualRowArgs& args) {
  if (args.y_bf16) {
    gated_residual_row(args, static_cast<const uint16_t*>(args.y));
  } else {
    gated_residual_row(args, static_cast<const float*>(args.y));
  }
}

void avx2_heads_norm_rope(const HeadsNormRopeArgs& args) {
  if (args.bf16) {
    heads_norm_rope(args, static_cast<uint16_t*>(args.x));
  } else {
    heads_norm_rope(args, static_cast<float*>(args.x));
  }
}

}  // namespace intaglio
