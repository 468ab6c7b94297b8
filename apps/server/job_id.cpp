#include "server/job_id.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace intaglio::server {
namespace {

constexpr std::string_view kDigits = "0123456789abcdefghjkmnpqrstvwxyz";
constexpr size_t kTimeDigits = 9;

std::string digits_of(uint64_t value, size_t count) {
  std::string text(count, kDigits.front());
  for (size_t i = count; i-- > 0; value >>= 5) text[i] = kDigits[value & 31];
  return text;
}

uint64_t value_of(std::string_view digits) {
  uint64_t value = 0;
  for (const char digit : digits) value = value << 5 | kDigits.find(digit);
  return value;
}

}  // namespace

Expected<uint64_t> random_bits() {
  uint64_t bits = 0;
  while (getrandom(&bits, sizeof(bits), 0) != static_cast<ssize_t>(sizeof(bits)))
    if (errno != EINTR)
      return make_error(ErrorCode::kIo, "no random bits: {}", std::strerror(errno));
  return bits;
}

Expected<std::string> next_job_id(std::string_view last, double seconds) {
  uint64_t time = static_cast<uint64_t>(std::max(seconds, 0.0) * 1e3);
  if (is_job_id(last)) time = std::max(time, value_of(last.substr(0, kTimeDigits)) + 1);
  INTAGLIO_ASSIGN(const uint64_t bits, random_bits());
  return digits_of(time, kTimeDigits) + digits_of(bits, kJobIdLength - kTimeDigits);
}

bool is_job_id(std::string_view text) {
  return text.size() == kJobIdLength && text.find_first_not_of(kDigits) == text.npos;
}

}  // namespace intaglio::server
