// Opens what shares a queue in Redis: servers and workers.
#pragma once

#include "server/redis_job_service.h"
#include "server/redis_worker.h"

namespace intaglio::server {

// Of options with a queue. Errors name the option. `patience` of RedisClient::open is a few
// seconds. The server opens the models without their weights and on the CPU, whatever the device.
Expected<std::unique_ptr<JobService>> open_redis_service(const ServiceOptions& options);
Expected<std::unique_ptr<RedisWorker>> open_worker(const ServiceOptions& options);

}  // namespace intaglio::server
