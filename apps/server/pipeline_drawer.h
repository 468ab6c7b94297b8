// Draws with the engine, as `intaglio generate` does: the same pixels and the same text in the PNG.
//
// One model is loaded at a time, with the adapters of the job at work; which, the queue decides.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/choose_picture.h"
#include "models/known_words.h"
#include "pipeline/latent_preview.h"
#include "pipeline/pipeline.h"
#include "server/drawer.h"
#include "server/lora_folder.h"

namespace intaglio::server {

class PipelineDrawer final : public Drawer {
 public:
  // Opens every model, without its weights. Errors of a model begin with "--model", others with the
  // option's name.
  static Expected<std::unique_ptr<Drawer>> open(const ServiceOptions& options);

  std::vector<ServedModel> models() const override;
  std::vector<std::string> loras() const override { return loras_.names(); }
  std::string device() const override { return device_; }
  uint64_t device_bytes() const override { return device_bytes_; }
  Accepted<JobRequest> complete(const JobRequest& request) const override;
  DrawKey key(const JobRequest& request) const override;
  Expected<DrawnPicture> draw(const JobRequest& request, int64_t index,
                              const DrawHooks& hooks) override;

 private:
  struct Known {
    std::string name;
    std::shared_ptr<const Model> model;
    Precision precision = Precision::kInt8;
    std::optional<KnownWords> words = {};
    std::vector<ServedMask> masks = {};
    std::string hash;  // empty: not made yet
    LatentPreview preview = {};
  };
  // A job's pictures differ in their seeds alone.
  struct Planned {
    std::string request;
    PicturePlan plan;
    Schedule schedule;
  };

  PipelineDrawer(const ServiceOptions& options, PipelineOptions pipeline, std::string device)
      : pipeline_options_(std::move(pipeline)),
        loras_(options.lora_folder),
        device_(std::move(device)) {}
  Status know(const std::string& argument, const std::string& precision);
  // -1: none.
  int find(const std::string& model) const;
  Expected<std::vector<AdapterUse>> adapters(const JobRequest& request) const;
  Status load(int model, const JobRequest& request, const DrawHooks& hooks);
  Status plan(const Known& known, const JobRequest& request, const InitPicture* init);
  Status learn_previews(Known& known, const std::atomic<bool>* cancel);
  StepEstimates estimates(const Known& known, const JobRequest& request,
                          const DrawHooks& hooks) const;

  PipelineOptions pipeline_options_;
  LoraFolder loras_;
  std::string device_;
  std::vector<Known> known_;  // hash and preview: of the thread that draws

  // Of the thread that draws.
  std::unique_ptr<Pipeline> pipeline_;
  std::vector<AdapterUse> uses_;
  std::string load_;  // DrawKey::load of what is there; empty: nothing
  std::optional<Planned> planned_;

  std::atomic<int> loaded_{-1};
  std::atomic<uint64_t> device_bytes_{0};
};

}  // namespace intaglio::server
