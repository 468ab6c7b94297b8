#include "command.h"

#include <fmt/format.h>

#include <cstdio>

namespace intaglio::cli {

int exit_code_of(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
      return kExitUsage;
    case ErrorCode::kCancelled:
      return kExitCancelled;
    default:
      return kExitFailure;
  }
}

void print_error(std::string_view message) {
  fmt::print(stderr, "error: {}\n", message);
  std::fflush(stderr);
}

void print_json(const nlohmann::ordered_json& result) {
  fmt::print("{}\n", result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  std::fflush(stdout);
}

int fail(const std::vector<Error>& errors, bool json) {
  const bool cancelled = !errors.empty() && errors.front().code == ErrorCode::kCancelled;
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Error& error : errors) {
    if (cancelled) {
      fmt::print(stderr, "cancelled\n");
    } else {
      print_error(error.message);
    }
    list.push_back({{"code", error_code_name(error.code)}, {"message", error.message}});
  }
  if (json) print_json({{"status", cancelled ? "cancelled" : "error"}, {"errors", list}});
  return errors.empty() ? kExitFailure : exit_code_of(errors.front());
}

int fail(const Error& error, bool json) { return fail(std::vector<Error>{error}, json); }

}  // namespace intaglio::cli
