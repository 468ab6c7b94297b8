#include "server/job_service.h"

#include "server/pipeline_drawer.h"
#include "server/queued_job_service.h"
#include "server/redis_queue.h"

namespace intaglio::server {

Expected<std::unique_ptr<JobService>> JobService::open(const ServiceOptions& options) {
  if (!options.queue.empty()) return open_redis_service(options);
  ServiceParts parts;
  parts.folder = options.folder;
  parts.limits = options.limits;
  parts.retention = options.retention;
  INTAGLIO_ASSIGN(parts.drawer, PipelineDrawer::open(options));
  return QueuedJobService::open(std::move(parts));
}

}  // namespace intaglio::server
