// Keeps a host that gives work to a GPU from running far ahead of it, so that whoever asks to stop
// waits for the pieces in flight and not for a whole pass.
#pragma once

#include <deque>

#include "core/context.h"
#include "core/status.h"

namespace intaglio {

// Of one pass made of pieces (layers, blocks of the decoder) that are given to the context's stream
// one after the other.
class Pace {
 public:
  explicit Pace(const Context& context);
  ~Pace();
  Pace(const Pace&) = delete;
  Pace& operator=(const Pace&) = delete;

  // Call it before each piece. kCancelled once the caller has asked to stop. On a GPU it waits
  // until at most two of the pieces before are unfinished, looking out for that call meanwhile; not
  // while the work is only recorded. On the CPU pieces are finished when they return.
  Status next();

 private:
  Status wait_for_oldest();

  const Context& context_;
  bool waits_ = false;
  std::deque<void*> marks_;  // events behind the pieces in flight, the oldest first
};

}  // namespace intaglio
