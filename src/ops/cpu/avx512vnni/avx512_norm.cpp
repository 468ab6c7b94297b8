// Row norms, gated residual and head norm with rope: the shared row kernels on AVX-512.
#include "ops/cpu/avx512vnni/norm_avx512.h"
// The rows are written over the pieces above.
#include "ops/cpu/norm_rows.h"

namespace intaglio {

void avx512_norm_row(const NormRowArgs& args) { norm_row(args); }

void avx512_gated_residual_row(const ResidualRowArgs& args) {
  if (args.y_bf16) {
    gated_residual_row(args, static_cast<const uint16_t*>(args.y));
  } else {
    gated_residual_row(args, static_cast<const float*>(args.y));
  }
}

void avx512_heads_norm_rope(const HeadsNormRopeArgs& args) {
  if (args.bf16) {
    heads_norm_rope(args, static_cast<uint16_t*>(args.x));
  } else {
    heads_norm_rope(args, static_cast<float*>(args.x));
  }
}

}  // namespace intaglio
