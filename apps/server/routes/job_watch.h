// What a client hears of jobs while they go on.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "server/event_stream.h"
#include "server/routes/site.h"

namespace intaglio::server {

// Events of one job, or with an empty `id` of all: state, progress, preview, picture, removed.
// nullptr: there is no such job. That of one job ends behind its last state.
std::shared_ptr<EventStream> watch_jobs(Site& site, const std::string& id);

// Calls `done` from the pool, once, when the job has ended, with what it is then; nullopt if it was
// removed. `preview`, if there is one, gets each picture of a step in order, before that.
using Preview = std::function<void(const Job& job, std::shared_ptr<const std::string> png)>;
void await_job(Site& site, const std::string& id, std::function<void(std::optional<Job>)> done,
               Preview preview = nullptr);

// Of a job for a client that waits: cancelled if the client goes away.
void cancel_if_gone(Site& site, Exchange& exchange, const std::string& id);

}  // namespace intaglio::server
