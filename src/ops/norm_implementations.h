// The kernels behind the registry of ops/norm.h.
#pragma once

#include "ops/norm.h"

namespace intaglio {

Status ref_norm(const Context& context, const NormDesc& desc, const NormArgs& args);
Status ref_gated_residual(const Context& context, const NormDesc& desc,
                          const GatedResidualArgs& args, const NormArgs* next,
                          const NormDesc* next_desc);

// Work of one thread at a time, in elements, below which handing out a row costs more than the row.
inline constexpr int64_t kNormGrainElements = 16384;

inline int64_t norm_grain(int64_t cols) { return kNormGrainElements / (cols > 0 ? cols : 1) + 1; }

}  // namespace intaglio
