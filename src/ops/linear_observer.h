// What looks at the linears of a pass while it runs, whatever the model.
#pragma once

#include "core/context.h"
#include "core/status.h"
#include "ops/linear.h"

namespace intaglio {

// Called in the order in which linears are given to the device. On a GPU nothing has run by then:
// who reads what a call points at copies it out (core/memory.h), which waits, so a pass that is
// recorded cannot be observed.
class LinearObserver {
 public:
  virtual ~LinearObserver() = default;
  // Before the product: `call.x` is there. An error ends the pass.
  virtual Status before(const Context&, const LinearWeights&, const LinearCall&) { return {}; }
  // Behind it: `call.out` is there, [call.x.rows, weights.out_cols()], and may be changed.
  virtual Status after(const Context&, const LinearWeights&, const LinearCall&) { return {}; }
};

// As long as it lives, the observer is shown each linear that this thread runs. Within another one
// it stands in its place.
class ObservedLinears {
 public:
  explicit ObservedLinears(LinearObserver& observer);
  ~ObservedLinears();
  ObservedLinears(const ObservedLinears&) = delete;
  ObservedLinears& operator=(const ObservedLinears&) = delete;

 private:
  LinearObserver* outer_;
};

}  // namespace intaglio
