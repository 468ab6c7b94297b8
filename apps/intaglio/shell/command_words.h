// What the command line understands, as data: what completion scripts and man pages are made of.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace intaglio::cli {

struct OptionWords {
  std::vector<std::string> names = {};    // "-h", "--help"; of an argument one without dashes
  std::string value = {};                 // "1..1024", "FILE|-"; empty: takes none
  std::vector<std::string> choices = {};  // of the value, where there are only so many
  std::string description = {};
  std::string preset = {};  // what it is unless given
  bool is_required = false;
  // Whether a value may be a path.
  bool takes_path() const;
};

struct CommandWords {
  std::vector<std::string> path = {};  // "intaglio", "bench", "linear"
  std::string description = {}, footer = {};
  std::vector<OptionWords> arguments = {}, options = {};
  std::vector<CommandWords> commands = {};

  std::string name() const { return path.back(); }
  // "intaglio bench linear", with another separator.
  std::string joined(char separator) const;
};

CommandWords command_words(CLI::App& app);

}  // namespace intaglio::cli
