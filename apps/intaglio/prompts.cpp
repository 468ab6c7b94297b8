#include "prompts.h"

#include <fcntl.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "argument_values.h"
#include "core/escape.h"
#include "interrupt.h"
#include "io/json_config.h"
#include "io/printable.h"

namespace intaglio::cli {
namespace {

constexpr size_t kMaxPromptBytes = size_t{1} << 20;
constexpr size_t kMaxPromptsBytes = size_t{1} << 26;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";  // of some editors
constexpr size_t kMaxErrors = 10;                            // told of a list

std::string name_of(const std::string& path) { return path == "-" ? "standard input" : path; }

bool is_stdin(const std::string& path) {
  return path == "-" || path == "/dev/stdin" || path == "/dev/fd/0" || path == "/proc/self/fd/0";
}

// Closes what it opened; standard input stays open.
class Source {
 public:
  // O_NONBLOCK: a pipe without a writer is waited for by poll, which a signal ends.
  explicit Source(const std::string& path)
      : owned_(!is_stdin(path)),
        descriptor_(owned_ ? ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)
                           : STDIN_FILENO) {}
  ~Source() {
    if (owned_ && descriptor_ >= 0) ::close(descriptor_);
  }
  Source(const Source&) = delete;
  Source& operator=(const Source&) = delete;
  int get() const { return descriptor_; }

 private:
  bool owned_;
  int descriptor_;
};

// Waits for something to read; false if a signal asked to stop.
bool wait_readable(int descriptor) {
  constexpr int kLookMs = 100;  // a signal between the look and the wait is seen then
  for (;;) {
    if (interrupted) return false;
    pollfd ready{.fd = descriptor, .events = POLLIN, .revents = 0};
    const int count = ::poll(&ready, 1, kLookMs);
    if (count > 0 || (count < 0 && errno != EINTR)) return true;
  }
}

Expected<std::string> without_mark(Expected<std::string> text) {
  if (text && text->starts_with(kByteOrderMark)) text->erase(0, kByteOrderMark.size());
  return text;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    utf8proc_int32_t code_point = -1;
    const utf8proc_ssize_t read =
        utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                         static_cast<utf8proc_ssize_t>(text.size()), &code_point);
    if (read <= 0) return false;
    text.remove_prefix(static_cast<size_t>(read));
  }
  return true;
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

Status check_prompt(std::string_view prompt, const std::string& where) {
  if (is_blank(prompt))
    return make_error(ErrorCode::kInvalidArgument, "{}: the prompt is empty", where);
  if (prompt.find('\0') != std::string_view::npos)
    return make_error(ErrorCode::kInvalidArgument, "{}: the prompt holds a zero byte", where);
  if (!is_utf8(prompt))
    return make_error(ErrorCode::kInvalidArgument, "{}: the prompt is not UTF-8 text", where);
  if (prompt.size() > kMaxPromptBytes) {
    return make_error(ErrorCode::kInvalidArgument, "{}: a prompt of {} bytes, at most {} expected",
                      where, prompt.size(), kMaxPromptBytes);
  }
  return {};
}

std::string_view kind_of(const nlohmann::json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list";
  if (value.is_string()) return "a text";
  if (value.is_boolean()) return "true or false";
  return value.is_null() ? "null" : "a number";
}

// A text or a number as the flag would be written.
std::optional<std::string> as_flag(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number()) return value.dump();
  return std::nullopt;
}

// "guidance" may be a list of numbers.
std::optional<std::string> as_flags(const nlohmann::json& value) {
  if (!value.is_array()) return as_flag(value);
  std::vector<std::string> items;
  for (const nlohmann::json& item : value) {
    if (!item.is_number()) return std::nullopt;
    items.push_back(item.dump());
  }
  return fmt::format("{}", fmt::join(items, ","));
}

// One key of a line of JSON.
struct Key {
  std::string name;
  std::optional<std::string> PictureSettings::*target;
};
const std::array<Key, 12>& known_keys() {
  static const std::array<Key, 12> kKeys{{{"negative_prompt", &PictureSettings::negative_prompt},
                                          {"seed", &PictureSettings::seed},
                                          {"size", &PictureSettings::size},
                                          {"preset", &PictureSettings::preset},
                                          {"steps", &PictureSettings::steps},
                                          {"mu", &PictureSettings::mu},
                                          {"std", &PictureSettings::std},
                                          {"shift", &PictureSettings::shift},
                                          {"guidance", &PictureSettings::guidance},
                                          {"cache", &PictureSettings::cache},
                                          {"progressive", &PictureSettings::progressive},
                                          {"output", &PictureSettings::output}}};
  return kKeys;
}

Status set_key(const std::string& where, const std::string& key, const nlohmann::json& value,
               PictureSettings& settings) {
  if (key == "prompt") {
    // Structured prompts may be written as they are.
    if (value.is_string()) {
      settings.prompt = value.get<std::string>();
    } else if (value.is_object()) {
      settings.prompt = value.dump();
    } else {
      return make_error(ErrorCode::kInvalidArgument, "{}: \"prompt\": expected a text, found {}",
                        where, kind_of(value));
    }
    return {};
  }
  std::vector<std::string> names{"prompt"};
  for (const Key& known : known_keys()) {
    names.push_back(known.name);
    if (known.name != key) continue;
    const std::optional<std::string> text = key == "guidance" ? as_flags(value) : as_flag(value);
    if (!text || text->empty()) {
      return make_error(ErrorCode::kInvalidArgument,
                        "{}: \"{}\": expected what --{} takes, found {}", where, key, key,
                        text ? "an empty text" : kind_of(value));
    }
    if (text->find('\0') != std::string::npos)
      return make_error(ErrorCode::kInvalidArgument, "{}: \"{}\" holds a zero byte", where, key);
    settings.*known.target = *text;
    return {};
  }
  return make_error(ErrorCode::kInvalidArgument, "{}: unknown key \"{}\", expected {}{}", where,
                    printable(key, 60), fmt::join(names, ", "), nearest_text(key, names));
}

// Whether a line is meant as JSON: {"key" or {}. Text may begin with a bracket too.
bool begins_object(std::string_view line) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t open = line.find_first_not_of(kBlank);
  if (open == std::string_view::npos || line[open] != '{') return false;
  const size_t next = line.find_first_not_of(kBlank, open + 1);
  return next != std::string_view::npos && (line[next] == '"' || line[next] == '}');
}

// One object on one line. JSON takes the last of equal keys; here each is an error, as a flag given
// twice is.
Expected<nlohmann::json> parse_object(std::string_view line, const std::string& where) {
  Expected<nlohmann::json> value = parse_json(line, where);
  if (!value) {
    std::string message = value.error().message;
    const std::string in_text = " at line 1, column ";
    if (const size_t at = message.find(in_text); at != std::string::npos)
      message.replace(at, in_text.size(), " at column ");
    // The user's own argument, as the flags are.
    return tl::unexpected<Error>({ErrorCode::kInvalidArgument, message});
  }
  if (!value->is_object()) {
    return make_error(ErrorCode::kInvalidArgument, "{}: expected a JSON object, found {}", where,
                      kind_of(*value));
  }
  std::set<std::string> keys;
  std::string twice;
  const auto note_keys = [&](int depth, nlohmann::json::parse_event_t event,
                             nlohmann::json& parsed) {
    if (depth == 1 && event == nlohmann::json::parse_event_t::key &&
        !keys.insert(parsed.get<std::string>()).second)
      twice = parsed.get<std::string>();
    return true;
  };
  static_cast<void>(nlohmann::json::parse(line, note_keys, false));
  if (!twice.empty())
    return make_error(ErrorCode::kInvalidArgument, "{}: \"{}\" is there twice", where,
                      printable(twice, 60));
  return value;
}

Expected<PictureSettings> parse_line(std::string_view line, const std::string& where, bool json) {
  PictureSettings settings;
  if (!json) {
    if (begins_object(line) && nlohmann::json::accept(line)) {
      return make_error(ErrorCode::kInvalidArgument,
                        "{}: a JSON object below a line of text; expected one of both in all lines",
                        where);
    }
    settings.prompt = line;
  } else {
    INTAGLIO_ASSIGN(const nlohmann::json value, parse_object(line, where));
    if (!value.contains("prompt"))
      return make_error(ErrorCode::kInvalidArgument, "{}: no \"prompt\" in the object", where);
    for (const auto& [key, item] : value.items()) INTAGLIO_TRY(set_key(where, key, item, settings));
  }
  INTAGLIO_TRY(check_prompt(settings.prompt, where));
  return settings;
}

}  // namespace

Expected<std::string> read_text(const std::string& path, size_t max_bytes) {
  const Source source(path);
  struct stat status {};
  const auto failed = [&](ErrorCode code, std::string_view reason) {
    return make_error(code, "{}: cannot read: {}", name_of(path), reason);
  };
  if (source.get() < 0 || ::fstat(source.get(), &status) != 0) {
    const ErrorCode code = errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
    return failed(code, std::strerror(errno));
  }
  if (S_ISDIR(status.st_mode)) return failed(ErrorCode::kIo, "is a folder");
  std::string text;
  std::array<char, 1 << 16> block;
  for (;;) {
    if (!wait_readable(source.get())) return make_error(ErrorCode::kCancelled, "cancelled");
    const ssize_t count = ::read(source.get(), block.data(), block.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (count < 0)
      return failed(ErrorCode::kIo, errno == EBADF ? "is closed" : std::strerror(errno));
    if (count == 0) return text;
    text.append(block.data(), static_cast<size_t>(count));
    if (text.size() > max_bytes) {
      return make_error(ErrorCode::kBadFormat, "{}: more than {} bytes", name_of(path), max_bytes);
    }
  }
}

std::optional<std::string> prompt_file(const std::string& argument) {
  if (argument == "-") return "-";
  if (!argument.starts_with('@') || argument.starts_with("@@")) return std::nullopt;
  return argument.substr(1);
}

Expected<std::string> read_prompt(const std::string& argument) {
  std::string where = "--prompt";
  std::string prompt = argument;
  if (const std::optional<std::string> file = prompt_file(argument)) {
    if (file->empty()) {
      return make_error(ErrorCode::kInvalidArgument,
                        "--prompt: expected a file's name behind the @; @@ writes one");
    }
    INTAGLIO_ASSIGN(prompt, without_mark(read_text(*file, kMaxPromptBytes)));
    where = name_of(*file);
    while (prompt.ends_with('\n') || prompt.ends_with('\r')) prompt.pop_back();
  } else if (argument.starts_with('@')) {
    prompt.erase(0, 1);
  }
  INTAGLIO_TRY(check_prompt(prompt, where));
  return prompt;
}

Status check_line_settings(const PictureSettings& settings, const std::string& where,
                           const std::vector<std::string_view>& taken) {
  for (const Key& key : known_keys()) {
    if (!(settings.*key.target) || std::find(taken.begin(), taken.end(), key.name) != taken.end())
      continue;
    std::string names = "\"prompt\"";
    for (const std::string_view name : taken) names += fmt::format(", \"{}\"", name);
    return make_error(ErrorCode::kInvalidArgument, "{}: only {} {} of a line here, found \"{}\"",
                      where, names, taken.empty() ? "is" : "are", key.name);
  }
  return {};
}

std::vector<PromptLine> parse_prompts(std::string_view text, const std::string& name,
                                      std::vector<Error>& errors) {
  std::vector<PromptLine> lines;
  const std::string_view whole = text;
  std::optional<bool> json;
  size_t wrong = 0;
  int64_t number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (is_blank(line)) continue;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!json && line[line.find_first_not_of(" \t")] == '[' && nlohmann::json::accept(whole)) {
      errors.push_back({ErrorCode::kInvalidArgument,
                        message_of("{}: a JSON list; expected a JSON object a line", name)});
      return lines;
    }
    if (!json) json = begins_object(line);
    PromptLine item{message_of("{}:{}", name, number), {}};
    Expected<PictureSettings> settings = parse_line(line, item.where, *json);
    if (settings) {
      item.settings = std::move(*settings);
      lines.push_back(std::move(item));
    } else if (++wrong <= kMaxErrors) {
      errors.push_back(settings.error());
    }
  }
  if (wrong > kMaxErrors) {
    errors.push_back({ErrorCode::kInvalidArgument,
                      message_of("{}: {} more lines are wrong", name, wrong - kMaxErrors)});
  }
  if (lines.empty() && wrong == 0)
    errors.push_back({ErrorCode::kInvalidArgument, message_of("{}: no prompts in it", name)});
  return lines;
}

std::vector<PromptLine> read_prompts(const std::string& path, std::vector<Error>& errors) {
  const Expected<std::string> text = without_mark(read_text(path, kMaxPromptsBytes));
  if (!text) {
    errors.push_back(text.error());
    return {};
  }
  return parse_prompts(*text, name_of(path), errors);
}

Expected<std::vector<std::string>> read_bare_prompts(const std::string& path) {
  std::vector<Error> errors;
  const std::vector<PromptLine> lines = read_prompts(path, errors);
  if (!errors.empty()) return tl::unexpected<Error>(errors.front());
  std::vector<std::string> prompts;
  for (const PromptLine& line : lines) {
    INTAGLIO_TRY(check_line_settings(line.settings, line.where));
    prompts.push_back(line.settings.prompt);
  }
  return prompts;
}

}  // namespace intaglio::cli
