// `intaglio completion` and `intaglio manual`: what shells and man know of the command line.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>

#include "argument_values.h"
#include "command.h"
#include "console.h"
#include "core/files.h"
#include "shell/completion.h"
#include "shell/man_page.h"

namespace intaglio::cli {
namespace {

const std::vector<std::string> kShells{"bash", "zsh", "fish"};

int print_completion(const CommandWords& program, const std::string& shell) {
  write_text(Stream::kOut, shell == "bash"  ? bash_completion(program)
                           : shell == "zsh" ? zsh_completion(program)
                                            : fish_completion(program));
  return kExitOk;
}

Status write_pages(const CommandWords& command, const std::filesystem::path& folder) {
  const std::string page = man_page(command, INTAGLIO_VERSION);
  INTAGLIO_TRY(write_file_atomic(folder / man_page_file(command), page));
  for (const CommandWords& sub : command.commands) INTAGLIO_TRY(write_pages(sub, folder));
  return {};
}

int write_manual(const CommandWords& program, const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    return fail(Error{ErrorCode::kIo, message_of("{}: cannot make the folder: {}", folder.string(),
                                                 error.message())},
                false);
  }
  const Status status = write_pages(program, folder);
  return status ? kExitOk : fail(status.error(), false);
}

}  // namespace

void add_completion(CLI::App& app, Action& action) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(
      "completion", "Print a script that completes commands and options in a shell");
  choose_from(
      command->add_option("shell", *shell, fmt::format("One of {}", fmt::join(kShells, ", "))),
      kShells)
      ->required();
  command->footer(
      "Examples:\n"
      "  source <(intaglio completion bash)\n"
      "  intaglio completion zsh > ~/.zfunc/_intaglio    # a folder of $fpath\n"
      "  intaglio completion fish > ~/.config/fish/completions/intaglio.fish");
  command->callback([&app, shell, &action] {
    action = [&app, shell] { return print_completion(command_words(app), *shell); };
  });
}

void add_manual(CLI::App& app, Action& action) {
  auto folder = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("manual", "Write man pages, one a command");
  command->add_option("folder", *folder, "Where they go; made if it is not there")
      ->required()
      ->type_name("DIR");
  command->footer(
      "Example:\n"
      "  intaglio manual ~/.local/share/man/man1 && man intaglio-generate");
  command->callback([&app, folder, &action] {
    action = [&app, folder] { return write_manual(command_words(app), *folder); };
  });
}

}  // namespace intaglio::cli
