#include "ops/cuda/launch/s8_gemm.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "core/cuda/device.h"
#include "core/per_device.h"
#include "ops/cuda/launch/sm75_s8_gemm.h"
#include "ops/cuda/launch/sm80_s8_gemm.h"
#include "ops/cuda/launch/sm90a_s8_gemm.h"
#include "ops/cuda/launch/small_m_s8_gemm.h"
#include "ops/cuda/tuning/tuning_cache.h"

namespace intaglio::cuda {
namespace {

constexpr int64_t kRowAlignment =
    16;  // bytes that rows start at multiples of, for all but the slow kernels

template <typename Config>
int index_of(std::span<const Config> configs, const std::string& name) {
  for (size_t i = 0; i < configs.size(); ++i)
    if (name == configs[i].name) return static_cast<int>(i);
  return -1;
}

int config_index(S8GemmFamily family, const std::string& name) {
  switch (family) {
    case S8GemmFamily::kSm75:
      return index_of(sm75_s8_gemm_configs(), name);
    case S8GemmFamily::kSm80:
      return index_of(sm80_s8_gemm_configs(), name);
    case S8GemmFamily::kSm90a:
      return index_of(sm90a_s8_gemm_configs(), name);
    case S8GemmFamily::kSmallM:
      return index_of(small_m_s8_gemm_configs(), name);
  }
  return -1;
}

const char* refusal(const S8GemmParams& p, const S8GemmChoice& choice, int config) {
  if (config < 0) return "this build has no such kernel";
  switch (choice.family) {
    case S8GemmFamily::kSm75:
      return sm75_s8_gemm_refusal(p);
    case S8GemmFamily::kSm80:
      return sm80_s8_gemm_refusal(p, config);
    case S8GemmFamily::kSm90a:
      return refuse_sm90a_s8_gemm(p);
    case S8GemmFamily::kSmallM:
      return small_m_s8_gemm_refusal(p, config);
  }
  return "unknown family";
}

S8GemmShape shape_of(const S8GemmParams& p, bool aligned) {
  // Aligned rows serve any k: their padding is read but counts for nothing. The tables know such a
  // k by its next multiple.
  const int64_t k = aligned ? (p.k + kRowAlignment - 1) / kRowAlignment * kRowAlignment : p.k;
  return {p.m, p.n, k, p.epilogue, p.out_type};
}

// Everything that is chosen for one device, kept for the life of the process.
class Chooser {
 public:
  explicit Chooser(const CudaDevice& device)
      : device_(device), cache_(TuningCache::open(tuning_key(device), tuning_folder())) {
    for (const TileConfig& config : tile_configs(device)) {
      if (!has_s8_gemm_config(config.family, config.name)) continue;
      if (config.family == S8GemmFamily::kSm90a && !may_use_wgmma(device)) continue;
      all_.push_back(config);
      if (config.any_rows) any_rows_.push_back(config);
    }
  }

  S8GemmChoice choose(const S8GemmParams& p, bool aligned) {
    const S8GemmShape shape = shape_of(p, aligned);
    const Key key{shape.m, shape.n, shape.k, shape.epilogue, shape.out_type, aligned};
    const std::scoped_lock lock(mutex_);
    auto found = chosen_.find(key);
    if (found == chosen_.end()) {
      const std::span<const TileConfig> configs = aligned ? all_ : any_rows_;
      found = chosen_.emplace(key, cache_.choose(device_, shape, configs).choice).first;
    }
    return found->second;
  }

 private:
  using Key = std::tuple<int64_t, int64_t, int64_t, GemmEpilogue, DType, bool>;
  const CudaDevice& device_;
  TuningCache cache_;
  std::vector<TileConfig> all_, any_rows_;
  std::mutex mutex_;
  std::map<Key, S8GemmChoice> chosen_;
};

Chooser& chooser_of(const CudaDevice& device) {
  static PerDevice<Chooser> choosers;
  return choosers.get(device.ordinal, [&] { return std::make_unique<Chooser>(device); });
}

bool strides_aligned(const S8GemmParams& p) {
  return p.lda % kRowAlignment == 0 && p.ldw % kRowAlignment == 0;
}

}  // namespace

bool has_s8_gemm_config(S8GemmFamily family, const std::string& config) {
  return config_index(family, config) >= 0;
}

size_t s8_gemm_workspace_bytes(const S8GemmParams& p, const S8GemmChoice& choice) {
  const int config = config_index(choice.family, choice.config);
  if (config < 0) return 0;
  if (choice.family == S8GemmFamily::kSm80)
    return sm80_s8_gemm_workspace_bytes(p, config, choice.split_k);
  if (choice.family == S8GemmFamily::kSm90a)
    return sm90a_s8_gemm_workspace_bytes(p, config, choice.split_k);
  if (choice.family == S8GemmFamily::kSmallM)
    return small_m_s8_gemm_workspace_bytes(p, config, choice.split_k);
  return 0;
}

Status launch_s8_gemm(const S8GemmParams& p, const S8GemmChoice& choice, const CudaDevice& device,
                      void* workspace, void* stream) {
  const int config = config_index(choice.family, choice.config);
  if (const char* reason = refusal(p, choice, config))
    return make_error(ErrorCode::kUnsupported, "{} {} for m {}, n {}, k {}: {}",
                      s8_gemm_family_name(choice.family), choice.config, p.m, p.n, p.k, reason);
  auto* const queue = static_cast<cudaStream_t>(stream);
  cudaError_t status = cudaErrorInvalidValue;
  switch (choice.family) {
    case S8GemmFamily::kSm75:
      status = sm75_s8_gemm(p, queue);
      break;
    case S8GemmFamily::kSm80:
      status = sm80_s8_gemm(
          p, Sm80Launch{.config = config, .split_k = choice.split_k, .group_n = choice.band},
          workspace, queue);
      break;
    case S8GemmFamily::kSm90a:
      status = sm90a_s8_gemm(
          p, config,
          {.band = choice.band, .blocks = device.multiprocessors, .split_k = choice.split_k},
          workspace, queue);
      break;
    case S8GemmFamily::kSmallM:
      status = small_m_s8_gemm(p, config, choice.split_k, workspace, queue);
      break;
  }
  return device_status(status, s8_gemm_family_name(choice.family));
}

Expected<S8GemmChoice> choose_s8_gemm(const S8GemmParams& p, const CudaDevice& device) {
  S8GemmChoice choice = chooser_of(device).choose(p, strides_aligned(p) && s8_rows_aligned(p));
  if (choice.config.empty())
    return make_error(
        ErrorCode::kUnsupported,
        "this build has no int8 product of m {}, n {}, k {} for {} (compute capability {}.{})", p.m,
        p.n, p.k, device.name, device.compute_capability / 10, device.compute_capability % 10);
  return choice;
}

Expected<size_t> s8_gemm_workspace_bound(const S8GemmParams& p, const CudaDevice& device) {
  Chooser& chooser = chooser_of(device);
  size_t bytes = s8_gemm_workspace_bytes(p, chooser.choose(p, false));
  if (strides_aligned(p))
    bytes = std::max(bytes, s8_gemm_workspace_bytes(p, chooser.choose(p, true)));
  return bytes;
}

}  // namespace intaglio::cuda
