// SHA-256 (FIPS 180-4).
#pragma once

#include <string>
#include <string_view>

namespace intaglio::server {

std::string sha256(std::string_view bytes);  // 64 hexadecimal digits

}  // namespace intaglio::server
