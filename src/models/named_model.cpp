#include "models/named_model.h"

#include "io/printable.h"
#include "models/find_model.h"
#include "models/registry.h"

namespace intaglio {

Expected<std::shared_ptr<const Model>> open_named_model(std::string_view what,
                                                        const std::string& argument,
                                                        std::string_view advice) {
  if (argument.starts_with(kSyntheticPrefix)) {
    auto model = synthetic_model(std::string_view(argument).substr(kSyntheticPrefix.size()));
    if (!model)
      return make_error(model.error().code, "{} {}", what, printable(model.error().message, 200));
    return model;
  }
  INTAGLIO_ASSIGN(const std::filesystem::path folder, find_model_folder(what, argument, advice));
  return open_model({.folder = folder});
}

}  // namespace intaglio
