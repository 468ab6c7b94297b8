#include "device/double/device_double.h"

#include <set>

#include "device/double/runtime.h"

namespace intaglio::test {

DeviceDouble& DeviceDouble::instance() {
  static DeviceDouble device;
  return device;
}
DeviceDouble::DeviceDouble() : runtime_(std::make_unique<Runtime>()) {}
DeviceDouble::~DeviceDouble() = default;

void DeviceDouble::restart(SideOrder order) {
  runtime_->run_all();
  runtime_->order = order;
  log_.clear();
  calls_ = 0;
  fail_at_ = -1;
  failed_ = false;
  failed_call_.clear();
  computes_ = true;
  peers_ = true;
  guarded_ = false;
  peer_copies_ = 0;
  restart_peaks();
}

void DeviceDouble::restart_peaks() {
  for (Count& device : devices_) device.peak = device.now;
  pinned_.peak = pinned_.now;
}

std::vector<int> DeviceDouble::unjoined_streams() const {
  std::vector<int> list;
  if (runtime_->streams.empty()) return list;
  std::set<const Node*> joined;
  std::vector<const Node*> open;
  const cudaStream_t first = runtime_->streams.front();
  if (first->last) open.push_back(first->last.get());
  for (const NodePtr& node : first->waits) open.push_back(node.get());
  while (!open.empty()) {
    const Node* node = open.back();
    open.pop_back();
    if (!joined.insert(node).second) continue;
    for (const NodePtr& before : node->after) open.push_back(before.get());
  }
  for (cudaStream_t s : runtime_->streams)
    if (s->last && !s->last->done && joined.count(s->last.get()) == 0) list.push_back(s->index);
  return list;
}

cudaError_t DeviceDouble::launch(cudaStream_t stream, const char* name,
                                 std::function<void()> work) {
  const OneCall lock;
  if (stream->device != current_device()) return cudaErrorInvalidResourceHandle;
  if (const cudaError_t error = Runtime::count(name)) return error;
  Runtime::note(std::to_string(stream->index) + " " + name);
  runtime_->add(stream, computes_ ? std::move(work) : nullptr);
  return cudaSuccess;
}

}  // namespace intaglio::test
