// What draws the pictures of jobs: the engine (pipeline_drawer.h), or a test's.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/status.h"
#include "models/init_picture.h"
#include "pipeline/pipeline.h"
#include "server/job.h"
#include "server/job_queue.h"
#include "server/job_service.h"

namespace intaglio::server {

struct DrawnPicture {
  std::vector<uint8_t> png = {};  // with what it was made of
  int64_t width = 0, height = 0;
  std::array<double, kPhaseNames.size()> phase_ms{};
};

struct DrawHooks {
  ProgressCallback progress;  // may be empty
  // A PNG after so many steps; empty where nobody wants them.
  std::function<void(int64_t step, std::shared_ptr<const std::string> png)> preview;
  const std::atomic<bool>* cancel = nullptr;  // once set, draw() returns kCancelled soon
  const InitPicture* init = nullptr;          // of a request that begins from one
};

class Drawer {
 public:
  virtual ~Drawer() = default;

  // For any thread.
  virtual std::vector<ServedModel> models() const = 0;
  virtual std::vector<std::string> loras() const = 0;
  virtual std::string device() const = 0;
  virtual uint64_t device_bytes() const { return 0; }  // of a GPU's memory
  // The request with every choice made but the seed; a Refusal for what cannot be drawn.
  virtual Accepted<JobRequest> complete(const JobRequest& request) const = 0;
  // Of a request that is complete.
  virtual DrawKey key(const JobRequest& request) const = 0;

  // Picture `index` of a request that is complete; of one thread.
  virtual Expected<DrawnPicture> draw(const JobRequest& request, int64_t index,
                                      const DrawHooks& hooks) = 0;
};

}  // namespace intaglio::server
