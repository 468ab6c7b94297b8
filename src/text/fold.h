// What tokenizers without capitals do to text before they split it. All texts are valid UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace intaglio {

// Each code point in lower case, without regard to its neighbours (no final sigma).
std::string lower_case(std::string_view text);

// Canonical decomposition (NFD) without the marks that take no room (category Mn): "é" -> "e".
std::string without_accents(std::string_view text);

// Categories C (controls, formats, unassigned, private) but for tab, CR and LF, as BERT has it.
bool is_bert_control(char32_t code_point);
// Categories P, and every printable ASCII character that is neither letter nor digit.
bool is_bert_punctuation(char32_t code_point);
// The blocks of CJK ideographs, which BERT makes words of their own.
bool is_bert_ideograph(char32_t code_point);

}  // namespace intaglio
