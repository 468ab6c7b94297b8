// The certificate and the key of HTTPS, before they are served.
#pragma once

#include <string>

#include "core/status.h"

namespace intaglio::server {

struct TlsFile {
  std::string name;  // for messages: the path
  std::string pem;
};

// kInvalidArgument names the file and what is wrong with it: no chain of certificates, one that has
// expired or is not valid yet at `now` (seconds since 1970, UTC), no key, a key with a passphrase
// or of another certificate.
Status check_tls_files(const TlsFile& certificate, const TlsFile& key, double now);

}  // namespace intaglio::server
