// Text out of files, arguments and the system, made fit for a terminal.
#pragma once

#include <fmt/format.h>

#include <iterator>
#include <string>
#include <string_view>
#include <type_traits>

namespace intaglio {

// kIndented: a line break stays where two spaces follow, as they do within messages of several
// lines: no text can begin a line of its own.
enum class LineBreaks { kEscaped, kIndented };

// `text` with \xNN for each byte of what moves a cursor, turns the direction of writing, breaks a
// line or is no UTF-8: C0 and C1 controls, DEL, format characters (all of Unicode's Cf but the two
// joiners that emoji and some scripts need) and line separators. What is escaped once stays as it
// is.
std::string escaped(std::string_view text, LineBreaks line_breaks = LineBreaks::kEscaped);

// Whether escaped() would write \xNN for a valid code point.
bool is_escaped(int32_t code_point);

// Lines that this program put together; what is foreign in them is escaped already.
struct OwnLines {
  std::string text;
};

namespace detail {

template <typename It, typename Sentinel>
std::string escaped_items(const fmt::join_view<It, Sentinel>& items) {
  std::string text;
  for (auto it = items.begin; it != items.end; ++it) {
    if (it != items.begin) text.append(items.sep.data(), items.sep.size());
    text += escaped(*it);
  }
  return text;
}

// What takes the place of an argument of a message: foreign text escaped, everything else as it is.
template <typename T>
decltype(auto) message_argument(const T& value) {
  if constexpr (std::is_convertible_v<const T&, std::string_view>) {
    return escaped(std::string_view(value));
  } else {
    return (value);
  }
}
template <typename It, typename Sentinel>
decltype(auto) message_argument(const fmt::join_view<It, Sentinel>& items) {
  if constexpr (std::is_convertible_v<decltype(*items.begin), std::string_view>) {
    return escaped_items(items);
  } else {
    return (items);
  }
}

}  // namespace detail

// A message for people: every text among `args` is escaped, line breaks too, so those of the result
// are the format's and of OwnLines.
template <typename... Args>
std::string message_of(fmt::format_string<Args...> format, Args&&... args) {
  return [&format](const auto&... safe) {
    return fmt::vformat(format, fmt::make_format_args(safe...));
  }(detail::message_argument(args)...);
}

}  // namespace intaglio

template <>
struct fmt::formatter<intaglio::OwnLines> : fmt::formatter<std::string_view> {
  template <typename Context>
  auto format(const intaglio::OwnLines& lines, Context& context) const {
    return fmt::formatter<std::string_view>::format(lines.text, context);
  }
};
