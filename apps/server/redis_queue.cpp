#include "server/redis_queue.h"

#include "server/pipeline_drawer.h"

namespace intaglio::server {
namespace {

constexpr double kPatience = 5;  // seconds until Redis must answer
constexpr const char* kQueue = "--queue";
constexpr const char* kResults = "--results";

Expected<std::shared_ptr<RedisClient>> open_client(const ServiceOptions& options) {
  INTAGLIO_ASSIGN(const RedisUrl url, parse_redis_url(kQueue, options.queue));
  auto client = RedisClient::open(url, kPatience);
  if (!client)
    return make_error(client.error().code, "{}: {}", kQueue, OwnLines{client.error().message});
  return std::move(*client);
}

Expected<std::unique_ptr<PictureStore>> open_pictures(const ServiceOptions& options,
                                                      const std::shared_ptr<RedisClient>& client) {
  const std::string place =
      options.results.empty() ? (options.folder / "results").string() : options.results;
  INTAGLIO_ASSIGN(std::unique_ptr<PictureStore> pictures,
                  PictureStore::open(kResults, place, options.folder / "cache"));
  INTAGLIO_TRY(join_results(kResults, *pictures, RedisJobs(client)));
  return pictures;
}

}  // namespace

Expected<std::unique_ptr<JobService>> open_redis_service(const ServiceOptions& options) {
  RedisServiceParts parts;
  INTAGLIO_ASSIGN(parts.client, open_client(options));
  ServiceOptions looking = options;
  looking.device = "cpu";
  INTAGLIO_ASSIGN(parts.drawer, PipelineDrawer::open(looking));
  INTAGLIO_ASSIGN(parts.pictures, open_pictures(options, parts.client));
  parts.limits = options.limits;
  parts.retention = options.retention;
  parts.lease = options.lease;
  return std::make_unique<RedisJobService>(std::move(parts));
}

Expected<std::unique_ptr<RedisWorker>> open_worker(const ServiceOptions& options) {
  WorkerParts parts;
  INTAGLIO_ASSIGN(parts.client, open_client(options));
  INTAGLIO_ASSIGN(parts.drawer, PipelineDrawer::open(options));
  INTAGLIO_ASSIGN(parts.pictures, open_pictures(options, parts.client));
  INTAGLIO_ASSIGN(parts.name, RedisWorker::own_name());
  parts.lease = options.lease;
  return std::make_unique<RedisWorker>(std::move(parts));
}

}  // namespace intaglio::server
