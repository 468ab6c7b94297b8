// What the ranks of one piece of work give each other. A rank is a thread of this process with a
// context of its own: a GPU and a stream, or the CPU.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "core/context.h"
#include "core/status.h"

namespace intaglio {

// One rank's end.
class Collective {
 public:
  virtual ~Collective() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;  // ranks, at least 1

  // Memory of the rank's device.
  struct Sent {
    int to = 0;
    const void* data = nullptr;
    size_t bytes = 0;
  };
  struct Received {
    int from = 0;
    void* data = nullptr;
    size_t bytes = 0;
  };
  // Called by all ranks alike, with as many calls each. What a rank receives of another is what
  // that one sends it, piece by piece in the order of both lists, and of the same sizes; a rank may
  // send to itself. Behind what the context's stream has been given so far and before what it is
  // given from here on, which may also change what was sent. No piece is written that another of
  // the call reads. The host may wait for the other ranks' calls, not for the copies. kCancelled
  // once the context's flag is set or a rank has called `abort`; kInternal for pieces that do not
  // match. Any error leaves the group good for nothing but `CollectiveGroup::restart`.
  virtual Status all_to_all(const Context& context, std::span<const Sent> sent,
                            std::span<const Received> received) = 0;
};

// All ranks, in one place: made before, and going after, their work.
class CollectiveGroup {
 public:
  virtual ~CollectiveGroup() = default;

  virtual int size() const = 0;
  // Of rank 0 .. size() - 1; goes with the group.
  virtual Collective& rank(int index) = 0;

  // Ends the calls that wait for a rank which failed, and all calls to come. By any thread.
  virtual void abort() = 0;
  // After an error, once no rank is at work: as new.
  virtual Status restart() = 0;
};

// Of contexts that outlive it, all of GPUs or all of the CPU; rank i runs in contexts[i]. Copies go
// by device links (core/device_link.h).
Expected<std::unique_ptr<CollectiveGroup>> make_linked_group(
    std::span<const Context* const> contexts);

// The same of GPUs by NCCL if INTAGLIO_GPU_LINK is "nccl", which fails with kUnsupported where it
// is not installed; else linked.
Expected<std::unique_ptr<CollectiveGroup>> make_collective_group(
    std::span<const Context* const> contexts);

}  // namespace intaglio
