// The cache in which the Hugging Face tools keep downloaded repositories:
// models--OWNER--NAME/{refs/REVISION, snapshots/HASH/...}. Only looked into, never written.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace intaglio {

// Whether `text` can be the name of a repository: "owner/name" or "owner/name@revision", not one
// that ends as a file of weights does.
bool is_hub_name(std::string_view text);

// Where caches lie, as the environment says: HF_HUB_CACHE, HF_HOME/hub,
// XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub; the first is the one that the tools
// write to.
std::vector<std::filesystem::path> hub_caches();

// The folder of the files of a repository: of the revision (a branch, a tag or a commit), else of
// main. kNotFound says where it looked, what there is and how to get it.
Expected<std::filesystem::path> find_in_hub_cache(std::string_view name);

}  // namespace intaglio
