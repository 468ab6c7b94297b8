// A small model whose transformers are not alike, with F32 files of random weights in a folder of
// its own: what a pipeline on the device double draws with.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "models/ideogram4/config.h"
#include "models/model.h"
#include "support/temp_folder.h"

namespace intaglio::test {

struct WrittenSizes {
  ideogram4::TransformerConfig conditional, unconditional;
  qwen3::TextEncoderConfig text;
  autoencoder::DecoderConfig vae;
};

// A few kB a layer: for the order of events. The unconditional transformer is the deeper one.
WrittenSizes tiny_sizes();
// Layers of some MB, so that what a phase takes is more than granules: for plans. With `swapped`
// the unconditional transformer is the wider one.
WrittenSizes planned_sizes(bool swapped);

// Writes the files; fails the test if it can't. `on_load` hears "text", "conditional",
// "unconditional" and "vae" before each is loaded, and "" after.
std::shared_ptr<const Model> written_model(const WrittenSizes& sizes,
                                           std::function<void(const std::string&)> on_load = {});

}  // namespace intaglio::test
