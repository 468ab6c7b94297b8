#include "server/sha256.h"

#include <fmt/ranges.h>
#include <gnutls/crypto.h>

#include <array>

namespace intaglio::server {

std::string sha256(std::string_view bytes) {
  std::array<unsigned char, 32> digest{};
  gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes.data(), bytes.size(), digest.data());
  return fmt::format("{:02x}", fmt::join(digest, ""));
}

}  // namespace intaglio::server
