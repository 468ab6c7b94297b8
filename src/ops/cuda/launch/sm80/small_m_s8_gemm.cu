#include <array>

#include "ops/cuda/kernels/small_m_s8_gemm.cuh"
#include "ops/cuda/launch/small_m_s8_gemm.h"

namespace intaglio::cuda {
namespace {

template <class C>
constexpr S8GemmConfig config_row(const char* name) {
  return {.name = name,
          .tile_m = C::kTileM,
          .tile_n = C::kTileN,
          .tile_k = C::kStepK,
          .stages = C::kUnroll,
          .threads = C::kThreads,
          .smem_bytes = C::kSmemBytes,
          .ctas_per_sm = 2,
          .any_rows = false};
}

using Rows8 = SmallMS8GemmConfig<1, 1, 4>;
using Rows16 = SmallMS8GemmConfig<2, 1, 4>;
using Rows32 = SmallMS8GemmConfig<4, 2, 2>;
using Rows64 = SmallMS8GemmConfig<8, 1, 2>;

constexpr std::array kConfigs{
    config_row<Rows8>("small_m_8x16"), config_row<Rows16>("small_m_16x16"),
    config_row<Rows32>("small_m_32x32"), config_row<Rows64>("small_m_64x16")};

template <class C>
cudaError_t launch_config(const SmallMS8GemmArgs& args, dim3 grid, cudaStream_t stream) {
  small_m_s8_gemm_kernel<C><<<grid, C::kThreads, C::kSmemBytes, stream>>>(args);
  return cudaPeekAtLastError();
}

using LaunchFunction = cudaError_t (*)(const SmallMS8GemmArgs&, dim3, cudaStream_t);
constexpr std::array<LaunchFunction, kConfigs.size()> kLaunchers{
    launch_config<Rows8>, launch_config<Rows16>, launch_config<Rows32>, launch_config<Rows64>};

// SwiGLU with one split still writes its sums to the workspace.
bool through_workspace(const S8GemmParams& p, const S8SplitK& split) {
  return split.splits > 1 || (is_gated(p.epilogue) && p.out_type != DType::kI32);
}

S8SplitK plan(const S8GemmParams& p, int config, int split_k) {
  return split_k_plan(p, p.k / kConfigs[static_cast<size_t>(config)].tile_k, split_k);
}

bool known(int config) { return config >= 0 && config < static_cast<int>(kConfigs.size()); }

}  // namespace

std::span<const S8GemmConfig> small_m_s8_gemm_configs() { return kConfigs; }

const char* small_m_s8_gemm_refusal(const S8GemmParams& p, int config) {
  if (!known(config)) return "there is no such config";
  if (const char* reason = refuse_s8_gemm_params(p)) return reason;
  if (!s8_rows_aligned(p)) return "a, w, lda and ldw must be multiples of 16 bytes";
  if (p.m > 65535 * kConfigs[static_cast<size_t>(config)].tile_m) return "m is far from small";
  return nullptr;
}

size_t small_m_s8_gemm_workspace_bytes(const S8GemmParams& p, int config, int split_k) {
  if (!known(config)) return 0;
  const S8SplitK split = plan(p, config, split_k);
  return through_workspace(p, split) ? split.partial_bytes(p) : 0;
}

cudaError_t small_m_s8_gemm(const S8GemmParams& p, int config, int split_k, void* workspace,
                            cudaStream_t stream) {
  if (small_m_s8_gemm_refusal(p, config) != nullptr) return cudaErrorInvalidValue;
  const S8GemmConfig& c = kConfigs[static_cast<size_t>(config)];
  const S8SplitK split = plan(p, config, split_k);
  const bool reduce = through_workspace(p, split);
  if ((reduce && workspace == nullptr) || split.splits > 65535) return cudaErrorInvalidValue;

  const SmallMS8GemmArgs args{.p = reduce ? partial_sums_params(p, split, workspace) : p,
                              .splits = split.splits,
                              .k_steps_per_split = split.steps_per_split};
  const dim3 grid(static_cast<unsigned>((p.n + c.tile_n - 1) / c.tile_n),
                  static_cast<unsigned>(split.splits),
                  static_cast<unsigned>((p.m + c.tile_m - 1) / c.tile_m));
  const cudaError_t status = kLaunchers[static_cast<size_t>(config)](args, grid, stream);
  if (status != cudaSuccess || !reduce) return status;
  return s8_reduce(p, static_cast<const int32_t*>(workspace), split, stream);
}

}  // namespace intaglio::cuda
