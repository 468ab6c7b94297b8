// Names of jobs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"

namespace intaglio::server {

inline constexpr size_t kJobIdLength = 20;

// 9 digits of the time in milliseconds, or one more than the last id's where the clock has not gone
// on since, then 11 random ones: 55 bits that nobody guesses. Digits of base 32 in the order of
// their bytes, so that a later id sorts behind an earlier one whatever the clock does.
// `last`: the newest id there is; empty: none. `seconds`: since 1970. kIo: no random bits.
Expected<std::string> next_job_id(std::string_view last, double seconds);

// Whether `text` can be one. Nothing else reaches the database or the file system.
bool is_job_id(std::string_view text);

// Of the system's generator; kIo if it has none.
Expected<uint64_t> random_bits();

}  // namespace intaglio::server
