#include "argument_check.h"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>

#include "argument_values.h"
#include "core/escape.h"
#include "io/printable.h"

namespace intaglio::cli {
namespace {

constexpr size_t kShown = 60;  // bytes of a wrong word

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(sub->get_name());
  return names;
}

bool takes_value(const CLI::Option& option) { return option.get_items_expected_max() > 0; }
bool takes_many(const CLI::Option& option) { return option.get_items_expected_max() > 1; }

class Checker {
 public:
  Checker(const CLI::App& app, std::span<const std::string> words) : app_(&app), words_(words) {}

  ArgumentCheck run() {
    while (at_ < words_.size() && !asks_for_help_) {
      const std::string& word = words_[at_++];
      if (word == "--") {
        while (at_ < words_.size()) positional(words_[at_++]);
      } else if (word.size() > 2 && word.starts_with("--")) {
        option(word);
      } else if (word.size() > 1 && word.front() == '-' && !whole_number(word)) {
        short_option(word);
      } else if (!skip_) {
        command_or_positional(word);
      }
    }
    if (asks_for_help_) return {app_, {}};
    missing();
    return {app_, std::move(errors_)};
  }

 private:
  template <typename... Args>
  void problem(fmt::format_string<Args...> format, Args&&... args) {
    errors_.push_back(
        {ErrorCode::kInvalidArgument, message_of(format, std::forward<Args>(args)...)});
  }

  std::vector<std::string> option_names() const {
    std::vector<std::string> names;
    for (const CLI::Option* o : app_->get_options())
      for (const std::string& name : o->get_lnames()) names.push_back("--" + name);
    return names;
  }

  const CLI::Option* find(const std::string& name) const {
    for (const CLI::Option* o : app_->get_options()) {
      const std::vector<std::string>& names = o->get_lnames();
      if (std::find(names.begin(), names.end(), name.substr(2)) != names.end()) return o;
    }
    return nullptr;
  }

  void option(const std::string& word) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const bool has_value = equals != std::string::npos;
    skip_ = false;
    if (name == "--help" || (name == "--version" && find(name) != nullptr)) {
      asks_for_help_ = true;
      return;
    }
    const CLI::Option* const found = find(name);
    if (found == nullptr) {
      const std::vector<std::string> names = option_names();
      if (const auto nearest = nearest_word(name, names)) ++count_[find(*nearest)];
      problem("unknown option {}{}", printable(name, kShown), nearest_text(name, names));
      skip_ = true;  // the words behind it are its values
      return;
    }
    ++count_[found];
    if (!takes_value(*found)) {
      if (has_value)
        problem("{}: takes no value, found \"{}\"", name,
                printable(std::string_view(word).substr(equals + 1), kShown));
      return;
    }
    if (has_value) {
      if (equals + 1 == word.size()) empty(*found, name);
      return;
    }
    value_of(*found, name);
  }

  void empty(const CLI::Option& option, const std::string& name) {
    problem("{}: expected {}, found an empty value", name, option.get_type_name());
  }

  void value_of(const CLI::Option& option, const std::string& name) {
    if (at_ == words_.size()) {
      problem("{}: expected {}, found the end of the line", name, option.get_type_name());
      return;
    }
    const std::string& value = words_[at_];
    if (value.size() > 2 && value.starts_with("--")) {
      problem("{}: expected {}, found {}; a value that begins with -- is written {}=VALUE", name,
              option.get_type_name(), printable(value, kShown), name);
      return;
    }
    ++at_;
    if (value.empty()) empty(option, name);
    while (takes_many(option) && at_ < words_.size() && !words_[at_].starts_with('-')) ++at_;
  }

  void short_option(const std::string& word) {
    if (word == "-h") {
      asks_for_help_ = true;
      return;
    }
    skip_ = true;
    const std::vector<std::string> names = option_names();
    problem("unknown option {}{}", printable(word, kShown), nearest_text("-" + word, names));
  }

  void command_or_positional(const std::string& word) {
    const auto commands = app_->get_subcommands([](const CLI::App*) { return true; });
    for (const CLI::App* command : commands) {
      if (command->get_name() != word) continue;
      app_ = command;
      return;
    }
    if (commands.empty()) {
      positional(word);
      return;
    }
    const std::vector<std::string> names = command_names(*app_);
    problem("unknown command \"{}\", expected one of {}{}", printable(word, kShown),
            fmt::join(names, ", "), nearest_text(word, names));
    unknown_command_ = true;
    at_ = words_.size();
  }

  void positional(const std::string& word) {
    size_t left = ++positionals_;
    for (const CLI::Option* o : app_->get_options()) {
      if (!o->get_positional() || --left > 0) continue;
      ++count_[o];
      if (word.empty()) empty(*o, o->get_name(true));
      return;
    }
    problem("unexpected \"{}\": {}", printable(word, kShown),
            positionals_ == 1 ? "this command takes options only, each with --"
                              : "this command takes no more words without an option");
  }

  void missing() {
    if (unknown_command_) return;
    if (app_->get_require_subcommand_min() > 0) {
      problem("no command, expected one of {}", fmt::join(command_names(*app_), ", "));
      return;
    }
    for (const CLI::Option* o : app_->get_options()) {
      const std::string name = o->get_positional() ? o->get_name(true) : o->get_name();
      if (o->get_required() && count_[o] == 0)
        problem("{}: missing, expected {}", name, o->get_type_name());
      const bool repeats = o->get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll;
      if (takes_value(*o) && !takes_many(*o) && !repeats && count_[o] > 1)
        problem("{}: given {} times, expected once", name, count_[o]);
    }
  }

  const CLI::App* app_;
  std::span<const std::string> words_;
  size_t at_ = 0;
  bool asks_for_help_ = false;
  bool skip_ = false;  // what follows an unknown option
  bool unknown_command_ = false;
  size_t positionals_ = 0;
  std::map<const CLI::Option*, int> count_;
  std::vector<Error> errors_;
};

}  // namespace

ArgumentCheck check_arguments(const CLI::App& app, std::span<const std::string> words) {
  return Checker(app, words).run();
}

Error argument_error(const CLI::ParseError& error) {
  const std::string text = error.what();
  // The validators' own words, behind the option's name.
  if (dynamic_cast<const CLI::ValidationError*>(&error) != nullptr)
    return {ErrorCode::kInvalidArgument, escaped(text)};
  constexpr std::string_view kExcludes = " excludes ";
  const size_t at = text.find(kExcludes);
  if (dynamic_cast<const CLI::ExcludesError*>(&error) != nullptr && at != std::string::npos) {
    return {ErrorCode::kInvalidArgument,
            message_of("{}: cannot be given together with {}", text.substr(0, at),
                       text.substr(at + kExcludes.size()))};
  }
  // Everything else is found by check_arguments; the name of the option is all that is ours.
  return {ErrorCode::kInvalidArgument,
          message_of("{}: cannot be read", text.substr(0, text.find_first_of(": ")))};
}

}  // namespace intaglio::cli
