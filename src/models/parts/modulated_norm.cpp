#include "models/parts/modulated_norm.h"

namespace intaglio {

ModulatedNorm::ModulatedNorm(const BlockBuffers& b, float eps, const Modulation& modulation,
                             const LinearWeights& read_by)
    : reader(read_by) {
  const Activation out = b.norm_output(reader);
  desc = norm_into(NormKind::kLayer, eps, out);
  args = {.x = b.h, .modulation = modulation.scale, .shift = modulation.shift, .out = out};
}

Status run_norm(const Context& context, const ModulatedNorm& next, BlockBuffers& b,
                Profile* profile) {
  {
    const ProfileScope part(context, profile, ProfilePart::kNorm);
    INTAGLIO_TRY(norm(context, next.desc, next.args));
  }
  return quantize_normed(context, next.reader, b, profile);
}

Status add_gated(const Context& context, int64_t width, const float* gate,
                 const ModulatedNorm* next, BlockBuffers& b, Profile* profile) {
  {
    const ProfileScope part(context, profile, ProfilePart::kNorm, "residual");
    const NormDesc desc{
        .kind = NormKind::kNone, .rows = b.tokens, .cols = width, .out_dtype = b.dtype};
    INTAGLIO_TRY(gated_residual(
        context, desc, {.h = b.h, .y = b.narrow, .y_dtype = b.dtype, .gate = gate},
        next != nullptr ? &next->desc : nullptr, next != nullptr ? &next->args : nullptr));
  }
  return next == nullptr ? Status{} : quantize_normed(context, next->reader, b, profile);
}

}  // namespace intaglio
