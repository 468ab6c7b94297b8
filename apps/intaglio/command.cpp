#include "command.h"

#include <utf8proc.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "console.h"
#include "interrupt.h"

namespace intaglio::cli {
namespace {

bool is_cancelled(const std::vector<Error>& errors) {
  return !errors.empty() && errors.front().code == ErrorCode::kCancelled;
}

}  // namespace

int exit_code_of(const Error& error) {
  switch (error.code) {
    case ErrorCode::kInvalidArgument:
      return kExitUsage;
    case ErrorCode::kCancelled:
      return interrupt_exit_code();
    default:
      return kExitFailure;
  }
}

void print_error(std::string_view message) {
  print(Stream::kErr, "error: {}\n", OwnLines{escaped(message, LineBreaks::kIndented)});
}

namespace {
bool warnings_are_silent = false;
}

void silence_warnings() { warnings_are_silent = true; }

void print_warning(std::string_view message) {
  if (warnings_are_silent) return;
  print(Stream::kErr, "warning: {}\n", OwnLines{escaped(message, LineBreaks::kIndented)});
}

std::string json_text(const nlohmann::ordered_json& value) {
  const std::string dump =
      value.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  std::string result;
  result.reserve(dump.size());
  // Beyond ASCII there is only what stands in strings; nlohmann::json escapes C0 itself.
  for (std::string_view rest = dump; !rest.empty();) {
    utf8proc_int32_t code_point = -1;
    const utf8proc_ssize_t read =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(rest.data()),
                         static_cast<utf8proc_ssize_t>(rest.size()), &code_point);
    const std::string_view bytes = rest.substr(0, read > 0 ? static_cast<size_t>(read) : 1);
    rest.remove_prefix(bytes.size());
    if (code_point < 0x7f || !is_escaped(code_point)) {
      result += bytes;
    } else if (code_point < 0x10000) {
      result += fmt::format("\\u{:04x}", code_point);
    } else {
      const int32_t above = code_point - 0x10000;
      result += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + above / 0x400, 0xdc00 + above % 0x400);
    }
  }
  return result;
}

void print_json(const nlohmann::ordered_json& result) {
  write_text(Stream::kOut, json_text(result) + "\n");
}

nlohmann::ordered_json failure_json(const std::vector<Error>& errors) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Error& error : errors)
    list.push_back({{"code", error_code_name(error.code)}, {"message", error.message}});
  return {{"status", is_cancelled(errors) ? "cancelled" : "error"}, {"errors", std::move(list)}};
}

void print_errors(const std::vector<Error>& errors) {
  constexpr size_t kMaxPrinted = 20;
  for (size_t i = 0; i < std::min(errors.size(), kMaxPrinted); ++i) {
    const Error& error = errors[i];
    if (error.code == ErrorCode::kCancelled) {
      print(Stream::kErr, "cancelled\n");
    } else {
      print_error(error.message);
    }
  }
  if (errors.size() > kMaxPrinted)
    print_error(fmt::format("and {} more problems", errors.size() - kMaxPrinted));
}

int fail(const std::vector<Error>& errors, bool json) {
  print_errors(errors);
  if (json) print_json(failure_json(errors));
  return errors.empty() ? kExitFailure : exit_code_of(errors.front());
}

int fail(const Error& error, bool json) { return fail(std::vector<Error>{error}, json); }

}  // namespace intaglio::cli
