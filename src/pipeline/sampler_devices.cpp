// A step of a Sampler on several devices: passes that run on others, passes whose rows are shared.
#include <algorithm>

#include "core/memory.h"
#include "pipeline/device_tasks.h"
#include "pipeline/sampler.h"

namespace intaglio {

std::vector<CollectiveGroup*> Sampler::State::groups(std::span<const size_t> of) const {
  std::vector<CollectiveGroup*> found;
  for (const size_t pass : of) {
    CollectiveGroup* const group = inputs.passes[pass].group;
    if (group != nullptr && std::find(found.begin(), found.end(), group) == found.end())
      found.push_back(group);
  }
  return found;
}

// A thread a device. Each but the sampler's own waits for its end, so that the sampler's GPU waits
// for nothing that another one may fail to do: it takes the others' rows once all have ended well.
Status Sampler::run_on_several(std::span<const size_t> passes, uint32_t works) {
  State& s = *state_;
  const std::atomic<bool>* const cancel = s.home.cancel;
  s.stop = false;
  s.home.cancel = &s.stop;
  const std::vector<CollectiveGroup*> groups = s.groups(passes);
  for (CollectiveGroup* const group : groups) INTAGLIO_TRY(group->restart());
  const auto send = [&](PassAway& to) {
    to.begin(&s.stop);
    return to.send(s.x.as<float>());
  };
  for (const size_t pass : passes) {
    if (s.passes[pass].away != nullptr) INTAGLIO_TRY(send(*s.passes[pass].away));
    for (const auto& rank : s.passes[pass].ranks) INTAGLIO_TRY(send(rank->io));
  }
  std::vector<DeviceTask> tasks = tasks_alone(passes, works);
  for (CollectiveGroup* const group : groups) {
    std::vector<size_t> of_group;
    for (const size_t pass : passes)
      if (s.inputs.passes[pass].group == group) of_group.push_back(pass);
    for (DeviceTask& task : tasks_of_group(std::move(of_group), works)) {
      if (task.context == &s.home) {
        tasks.front() = std::move(task);
      } else {
        tasks.push_back(std::move(task));
      }
    }
  }
  INTAGLIO_TRY(run_on_devices(tasks, cancel, s.stop,
                              groups.empty() ? TaskThreads::kIfAny : TaskThreads::kEach));
  for (const size_t pass : passes) INTAGLIO_TRY(receive_velocity(pass, work_of(works, pass)));
  return {};
}

// Of the passes that no devices share: the first task is the sampler's own device's.
std::vector<DeviceTask> Sampler::tasks_alone(std::span<const size_t> passes, uint32_t works) {
  State& s = *state_;
  std::vector<DeviceTask> tasks{{.context = &s.home, .work = [] { return Status(); }}};
  uint32_t at_home = 0;
  for (const size_t pass : passes) {
    if (s.inputs.passes[pass].group != nullptr) continue;
    const uint32_t own = works_of(pass, work_of(works, pass));
    if (s.passes[pass].away == nullptr) {
      at_home |= own;
      continue;
    }
    const Context& context = s.passes[pass].away->context();
    tasks.push_back(
        {.context = &context, .work = [&context, &recording = recording_of(context, own)] {
           return recording.run(context).and_then([&] { return synchronize(context); });
         }});
  }
  if (at_home != 0)
    tasks.front().work = [&s, &recording = recording_of(s.home, at_home)] {
      return recording.run(s.home);
    };
  return tasks;
}

// Of all passes of a group: each rank computes its rows of one pass after the other.
std::vector<DeviceTask> Sampler::tasks_of_group(std::vector<size_t> passes, uint32_t works) {
  State& s = *state_;
  const size_t first = passes.front();
  CollectiveGroup* const group = s.inputs.passes[first].group;
  // `run`: of a pass. Others may wait for what a rank that fails does not send, on the device too.
  const auto task = [&s, group, passes](const Context& context, auto run) {
    const auto work = [&s, group, passes, run, on = &context]() -> Status {
      const auto all = [&]() -> Status {
        for (const size_t pass : passes) INTAGLIO_TRY(run(*on, pass));
        return on == &s.home ? Status() : synchronize(*on);
      };
      Status done = all();
      if (!done) group->abort();
      return done;
    };
    return DeviceTask{.context = &context, .work = work};
  };
  const PassState& leader = s.passes[first];
  std::vector<DeviceTask> tasks{task(leader.away != nullptr ? leader.away->context() : s.home,
                                     [&s, works](const Context& context, size_t pass) {
                                       return run_pass(context, s, pass, work_of(works, pass));
                                     })};
  for (size_t r = 0; r < leader.ranks.size(); ++r) {
    tasks.push_back(
        task(leader.ranks[r]->io.context(), [&s, works, r](const Context& context, size_t pass) {
          RankState& rank = *s.passes[pass].ranks[r];
          return s.inputs.passes[pass].ranks[r].transformer->forward(
              context, rank.session, rank.io.latents(), rank.io.velocity(), nullptr,
              cache_of(s, rank.residual, work_of(works, pass)));
        }));
  }
  return tasks;
}

// What other devices have computed of a pass.
Status Sampler::receive_velocity(size_t pass, Work work) const {
  const PassState& p = state_->passes[pass];
  const int64_t channels = state_->inputs.passes[pass].transformer->channels();
  float* const velocity = (work == kFirstBlocks ? p.estimate : p.velocity).as<float>();
  const auto receive = [&](PassAway& from, const TransformerSession& session) {
    const PassRows& rows = session.pass_rows();
    return from.receive(velocity, rows.first_image_token * channels, rows.image_tokens * channels);
  };
  if (p.away != nullptr) INTAGLIO_TRY(receive(*p.away, p.session));
  for (const auto& rank : p.ranks) INTAGLIO_TRY(receive(rank->io, rank->session));
  return {};
}

}  // namespace intaglio
