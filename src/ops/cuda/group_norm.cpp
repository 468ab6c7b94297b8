#include "ops/cuda/group_norm.h"

#include "core/arena.h"
#include "core/cuda/device.h"
#include "ops/cuda/launch/group_norm.h"
#include "ops/cuda/stream.h"

namespace intaglio::cuda::op {
namespace {

GroupNormParams group_norm_params(const GroupNormDesc& desc) {
  GroupNormParams p;
  p.pixels = desc.pixels;
  p.channels = static_cast<int32_t>(desc.channels);
  p.groups = static_cast<int32_t>(desc.groups);
  p.eps = desc.eps;
  p.silu = desc.silu;
  p.type = desc.dtype;
  return p;
}

}  // namespace

Refusal group_norm_refusal(const GroupNormDesc& desc, const Context&) {
  // Before the sizes become those of the kernel.
  if (desc.channels > kMostGroupNormChannels) return "channels must be 1 to 65536";
  return group_norm_sizes_refusal(group_norm_params(desc));
}

size_t group_norm_scratch_bytes(const GroupNormDesc& desc) {
  return arena_bytes<std::byte>(
      static_cast<int64_t>(group_norm_workspace_bytes(group_norm_params(desc))));
}

Status group_norm(const Context& context, const GroupNormDesc& desc, const GroupNormArgs& args) {
  GroupNormParams p = group_norm_params(desc);
  p.x = args.x;
  p.y = args.y;
  p.weight = args.weight;
  p.bias = args.bias;
  const Arena::Scope scope(*context.scratch);
  INTAGLIO_ASSIGN(p.workspace, context.scratch->take<std::byte>(
                                   static_cast<int64_t>(group_norm_workspace_bytes(p))));
  if (const char* reason = cuda::group_norm_refusal(p))
    return make_error(ErrorCode::kUnsupported, "a group norm of {} pixels x {}: {}", desc.pixels,
                      desc.channels, reason);
  return device_status(cuda::group_norm(p, stream_of(context)), "a group norm");
}

}  // namespace intaglio::cuda::op
