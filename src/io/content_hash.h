// Hashes (xxh3), and what tells the content of one file from another's without reading all of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/context.h"
#include "core/input_file.h"
#include "core/status.h"

namespace intaglio {

uint64_t hash64(std::span<const std::byte> bytes);
// 32 hexadecimal digits of 128 bits.
std::string hash128_text(std::string_view text);

// Of the hashes of pieces of 1 MiB, which all threads of the context take part in.
Expected<uint64_t> hash_pieces(const Context& context, std::span<const std::byte> bytes);

// The file's size, the time it was last written to, and a hash of its first and last 64 KiB and of
// 64 blocks of 4 KiB spread evenly between. Whoever writes to a file changes its time. A copy that
// keeps the time of what it replaces is told by the blocks, unless the two are the same in all of
// them: trained weights differ nearly everywhere. Only bytes changed in place with the time put
// back on purpose pass.
Expected<std::string> file_identity(const InputFile& file);

}  // namespace intaglio
