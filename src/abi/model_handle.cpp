#include "abi/model_handle.h"

#include "advice/choose_precision.h"

namespace intaglio::abi {

Expected<std::string> ModelHash::get() {
  const std::lock_guard lock(mutex_);
  if (hash_.empty()) {
    INTAGLIO_ASSIGN(hash_, model_->hash());
  }
  return hash_;
}

Expected<AtWork> AtWork::begin(intaglio_model* model) {
  if (model == nullptr)
    return make_error(ErrorCode::kInvalidArgument,
                      "model: null, expected one of intaglio_model_open");
  if (model->busy.exchange(true))
    return make_error(ErrorCode::kInvalidArgument,
                      "model: another call is using it; expected one call at a time");
  model->cancel = false;
  return AtWork(model);
}

}  // namespace intaglio::abi

intaglio::Expected<intaglio::PicturePlan> intaglio_model::plan(
    const intaglio::PictureRequest& request) {
  if (pipeline == nullptr) {
    INTAGLIO_ASSIGN(intaglio::ChosenPrecision chosen,
                    intaglio::choose_precision(choice.model, choice.options, request));
    pipeline = std::move(chosen.pipeline);
    choice.options.selection.precision = chosen.precision;
    precision_reason = std::move(chosen.reason);
  }
  return pipeline->plan(request);
}

intaglio::Status intaglio_model::set_adapters(std::vector<intaglio::AdapterUse> adapters) {
  if (pipeline != nullptr) {
    INTAGLIO_TRY(pipeline->set_adapters(adapters));
  } else {
    // The pipeline will say what it warns of.
    INTAGLIO_TRY(
        choice.model->check_adapters(adapters).map([](const std::vector<std::string>&) {}));
  }
  choice.options.adapters = std::move(adapters);
  return {};
}
