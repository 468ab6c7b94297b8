// Models as the server's readers of requests know them: one with presets, one that takes less.
#pragma once

#include <vector>

#include "server/job_service.h"

namespace intaglio::server {

inline const std::vector<ServedModel>& served_models() {
  static const std::vector<ServedModel> models = [] {
    ServedModel mini{.name = "mini", .info = {}, .precision = "int8", .loaded = true};
    mini.info.name = "mini";
    mini.info.takes_init_picture = true;
    mini.info.presets = {{.name = "FAST", .steps = 4}, {.name = "BEST", .steps = 40}};
    ServedModel plain{.name = "plain", .info = {}, .precision = "int8", .loaded = false};
    plain.info.name = "plain";
    plain.info.negative_prompt_refusal = "it reads none";
    plain.info.unguided_reason = "it was distilled";
    return std::vector<ServedModel>{mini, plain};
  }();
  return models;
}

}  // namespace intaglio::server
