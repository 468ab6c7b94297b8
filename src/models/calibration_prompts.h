// Prompts to calibrate with where nobody names others: in the words of the bundled model, which are
// plain English to any other.
#pragma once

#include <string_view>

namespace intaglio {

inline constexpr std::string_view kCalibrationPrompts[] = {
    "a red apple on a white background",
    "a blue car to the left of a green tree, fluent style",
    "the word \"HELLO\" in black serif letters",
    "a yellow taxi, a bus and a bicycle in a row on gray",
    "a fox above a mushroom, noto style",
    "a big purple umbrella on a navy background",
    "a cat and a sign that says \"OPEN\", twemoji style",
    "a slice of watermelon in the bottom right corner on mint"};

}  // namespace intaglio
