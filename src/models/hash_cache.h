// The hash of a checkpoint's weights, kept beside packed weights so that only the first start reads
// all of a file for it.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/status.h"
#include "io/checkpoint.h"

namespace intaglio {

// Checkpoint::hash; known again by the identity of the files (io/content_hash.h: file_identity)
// where the cache of packed weights is on and they are worth it.
Expected<uint64_t> kept_hash(const Checkpoint& checkpoint, const std::atomic<bool>* cancel);

}  // namespace intaglio
