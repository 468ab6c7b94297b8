// What the handles of the C interface hold: an open model, and a picture that was drawn.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "abi/picture_options.h"
#include "core/status.h"
#include "intaglio/intaglio.h"
#include "pipeline/pipeline.h"

namespace intaglio::abi {

// The hash of a model's weights, made when it is first asked for. Pictures share it.
class ModelHash {
 public:
  explicit ModelHash(std::shared_ptr<const Model> model) : model_(std::move(model)) {}
  const ModelInfo& info() const { return model_->info(); }
  Expected<std::string> get();

 private:
  std::shared_ptr<const Model> model_;
  std::mutex mutex_;
  std::string hash_;  // empty: not made yet
};

}  // namespace intaglio::abi

struct intaglio_model {
  intaglio::abi::ModelChoice choice;
  // Null until the first picture has chosen the precision, where that is automatic.
  std::unique_ptr<intaglio::Pipeline> pipeline;
  std::string precision_reason;
  std::shared_ptr<intaglio::abi::ModelHash> hash;
  std::atomic<bool> busy{false}, cancel{false};

  // Of the picture, and with it the pipeline if there is none yet.
  intaglio::Expected<intaglio::PicturePlan> plan(const intaglio::PictureRequest& request);
  // Of the next picture on; on failure those before stay.
  intaglio::Status set_adapters(std::vector<intaglio::AdapterUse> adapters);
  intaglio::Precision precision() const { return choice.options.selection.precision; }
};

struct intaglio_picture {
  intaglio::abi::PictureChoice choice;
  intaglio::Precision precision = intaglio::Precision::kInt8;
  std::vector<std::string> adapters;  // "NAME:STRENGTH"
  std::string mask;                   // PicturePlan::mask_name
  int64_t half_steps = 0;             // Sampling::half_steps
  std::shared_ptr<intaglio::abi::ModelHash> hash;
  intaglio::Picture picture;
  double total_ms = 0.0;
  std::vector<uint8_t> png;  // of intaglio_picture_png
};

namespace intaglio::abi {

// The model is at work as long as this lives. kInvalidArgument if it is already.
class AtWork {
 public:
  static Expected<AtWork> begin(intaglio_model* model);
  AtWork(AtWork&& other) noexcept : model_(std::exchange(other.model_, nullptr)) {}
  AtWork& operator=(AtWork&&) = delete;
  ~AtWork() {
    if (model_ != nullptr) model_->busy = false;
  }
  // What the destructor does, but for a model that is no more.
  void forget() { model_ = nullptr; }

 private:
  explicit AtWork(intaglio_model* model) : model_(model) {}
  intaglio_model* model_;
};

}  // namespace intaglio::abi
