// A second stream of a GPU, for work that runs beside the context's own: what is bound by memory in
// one hides behind the products of the other. Ordered by events, so that both become part of one
// recorded graph.
#pragma once

#include <memory>

#include "core/context.h"
#include "core/status.h"

namespace intaglio {

class SideStream {
 public:
  virtual ~SideStream() = default;

  // A cudaStream_t.
  virtual void* stream() const = 0;
  // What the side stream is given from here on follows what the context's has been given so far.
  virtual Status fork(const Context& context) = 0;
  // What the context's stream is given from here on follows all of the side stream's.
  virtual Status join(const Context& context) = 0;
};

// kUnsupported on the CPU.
Expected<std::unique_ptr<SideStream>> make_side_stream(const Context& context);

}  // namespace intaglio
