// --help: what a command is for, its options and examples, in 80 columns.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <string_view>

namespace intaglio::cli {

inline constexpr size_t kHelpColumns = 80;

// `text` in lines of at most `columns` characters, broken at spaces; lines after the first begin
// with `indent` spaces. A line break of the text stays; a line that begins with a space (an
// example) is not touched.
std::string wrapped(std::string_view text, size_t columns, size_t indent);

class HelpText final : public CLI::FormatterBase {
 public:
  std::string make_help(const CLI::App* app, std::string name, CLI::AppFormatMode) const override;
};

}  // namespace intaglio::cli
