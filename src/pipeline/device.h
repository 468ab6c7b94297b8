// The context that a pipeline, a benchmark or a verification runs in: the CPU, or one GPU with a
// stream of its own.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/context.h"
#include "core/status.h"

namespace intaglio {

struct DeviceContext {
  Context context;               // without scratch
  std::shared_ptr<void> stream;  // what context.stream points to
};

// A context for this machine: thread count (0 = as many as affinity and control groups let the
// process use; a warning if it is more) and INTAGLIO_CPU_ISA applied. Its threads are started;
// kUnsupported if they cannot all be.
Expected<Context> host_context(int threads);

// `gpu`: its ordinal, which becomes the calling thread's current device; nullopt: the CPU.
// kNotFound if there is no such GPU, kUnsupported if it is too old or this build has no CUDA.
Expected<DeviceContext> open_device(std::optional<int> gpu, int threads);

// Makes the context's GPU the calling thread's current device, as ops expect it.
Status make_current(const Context& context);

// What `work`, a Status() or Expected(), returns with the context's GPU as the calling thread's
// current device, which is `home`'s afterwards.
template <typename Work>
auto on_device(const Context& context, const Context& home, Work&& work) -> decltype(work()) {
  INTAGLIO_TRY(make_current(context));
  auto done = work();
  INTAGLIO_TRY(make_current(home));
  return done;
}

// The first GPU that this build has kernels for; nullopt if there is none.
std::optional<int> default_gpu();

// Of "cuda" (0) and "cuda:N"; nullopt: neither.
std::optional<int> cuda_ordinal(std::string_view text);
// "auto" (default_gpu, else the CPU), "cpu" (nullopt), "cuda", "cuda:N"; kInvalidArgument names
// `what`.
Expected<std::optional<int>> device_from_name(std::string_view what, std::string_view text);

// What several GPUs do of a step (docs/several-cards.md): a pass each; a part of the rows of every
// pass each; a part of the rows of one of two passes each; kAuto: what should be faster
// (advice/choose_parallel.h).
enum class Parallel { kOff, kUlysses, kCfgUlysses, kAuto };
// "off", "ulysses", "cfg+ulysses", "auto"; kInvalidArgument names `what`.
Expected<Parallel> parallel_from_name(std::string_view what, std::string_view text);

// Where pictures are made. With a second GPU the second pass of each step runs there, which
// `second_rank_gpus` share; `rank_gpus` share the others; what `undecided` ones do is for the
// picture to say.
struct DeviceChoice {
  std::optional<int> gpu, second_gpu;
  std::vector<int> rank_gpus{}, second_rank_gpus{}, undecided{};
};
// "0", "0,1", "cuda:0,cuda:1", or what device_from_name takes; kInvalidArgument names `what`, also
// for the same GPU twice, a CPU beside a GPU, more GPUs than `parallel` has work for, fewer than
// two to share passes and other numbers than 4, 6 and 8 to share a pass of two.
Expected<DeviceChoice> devices_from_names(std::string_view what, std::string_view text,
                                          Parallel parallel = Parallel::kOff);

// "cpu", or "cuda:0, NVIDIA H100 80GB HBM3".
std::string device_name(const Context& context);
// Of one and others: "cuda:0, NVIDIA ..., cuda:1, ... and cuda:2, ...".
std::string device_names(const Context& first, std::span<const Context* const> others);

// Bytes that the context's device still has.
Expected<uint64_t> available_device_bytes(const Context& context);

}  // namespace intaglio
