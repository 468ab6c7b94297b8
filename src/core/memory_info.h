// How much memory this process may still take, and how much it took.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace intaglio {

// Bytes that can be taken without swapping: the least of the system's available memory, what the
// control groups leave, and the limits on address space and data. `root` is the folder that proc
// and the mounted groups lie in.
uint64_t available_memory_bytes(const std::filesystem::path& root = "/");

// Highest resident size of this process so far.
uint64_t peak_resident_bytes();

// "1.5 GiB"
std::string format_bytes(uint64_t bytes);

// "8G", "512M", "1.5GiB", "1048576" in powers of 1024; nullopt if it is no size.
std::optional<uint64_t> parse_bytes(std::string_view text);

}  // namespace intaglio
