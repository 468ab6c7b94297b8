// How far a text that was read is from the one that was asked for.
#pragma once

#include <cstdint>
#include <string_view>

namespace intaglio {

// The least number of code points to insert, remove or replace (Levenshtein). Bytes that are no
// UTF-8 count one each.
int64_t edit_distance(std::string_view a, std::string_view b);

// 1 - edit_distance / the longer one's length: 1 for equal texts, 0 for nothing in common. Two
// empty texts are equal.
double edit_similarity(std::string_view a, std::string_view b);

}  // namespace intaglio
