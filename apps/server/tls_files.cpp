#include "server/tls_files.h"

#include <fmt/chrono.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include <ctime>

namespace intaglio::server {
namespace {

constexpr unsigned kMostCertificates = 16;  // of a chain

gnutls_datum_t datum(const std::string& text) {
  return {.data = reinterpret_cast<unsigned char*>(const_cast<char*>(text.data())),
          .size = static_cast<unsigned>(text.size())};
}

std::string day(std::time_t time) {
  return fmt::format("{:%Y-%m-%d %H:%M} UTC", fmt::gmtime(time));
}

Status check_dates(const TlsFile& file, gnutls_x509_crt_t certificate, double now) {
  const std::time_t begin = gnutls_x509_crt_get_activation_time(certificate);
  const std::time_t end = gnutls_x509_crt_get_expiration_time(certificate);
  if (now < static_cast<double>(begin))
    return make_error(ErrorCode::kInvalidArgument, "--tls-cert: {} is not valid before {}",
                      file.name, day(begin));
  if (now > static_cast<double>(end))
    return make_error(ErrorCode::kInvalidArgument, "--tls-cert: {} expired on {}", file.name,
                      day(end));
  return {};
}

Status check_certificates(const TlsFile& file, double now) {
  gnutls_x509_crt_t chain[kMostCertificates] = {};
  unsigned count = kMostCertificates;
  const gnutls_datum_t pem = datum(file.pem);
  const int code = gnutls_x509_crt_list_import(chain, &count, &pem, GNUTLS_X509_FMT_PEM,
                                               GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
  if (code < 0) {
    return make_error(ErrorCode::kInvalidArgument,
                      "--tls-cert: {}: expected a certificate in PEM, and those that vouch for it: "
                      "{}",
                      file.name, gnutls_strerror(code));
  }
  Status status;
  for (unsigned i = 0; i < count; ++i) {
    if (status) status = check_dates(file, chain[i], now);
    gnutls_x509_crt_deinit(chain[i]);
  }
  return status;
}

Status check_key(const TlsFile& file) {
  gnutls_x509_privkey_t key = nullptr;
  const gnutls_datum_t pem = datum(file.pem);
  gnutls_x509_privkey_init(&key);
  const int code = gnutls_x509_privkey_import2(key, &pem, GNUTLS_X509_FMT_PEM, nullptr, 0);
  gnutls_x509_privkey_deinit(key);
  if (code >= 0) return {};
  return make_error(ErrorCode::kInvalidArgument,
                    "--tls-key: {}: expected a private key in PEM, without a passphrase: {}",
                    file.name, gnutls_strerror(code));
}

}  // namespace

Status check_tls_files(const TlsFile& certificate, const TlsFile& key, double now) {
  INTAGLIO_TRY(check_certificates(certificate, now));
  INTAGLIO_TRY(check_key(key));
  gnutls_certificate_credentials_t both = nullptr;
  gnutls_certificate_allocate_credentials(&both);
  const gnutls_datum_t chain = datum(certificate.pem), secret = datum(key.pem);
  const int code = gnutls_certificate_set_x509_key_mem(both, &chain, &secret, GNUTLS_X509_FMT_PEM);
  gnutls_certificate_free_credentials(both);
  if (code >= 0) return {};
  if (code == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
    return make_error(ErrorCode::kInvalidArgument,
                      "--tls-key: {} is not the key of the certificate in {}", key.name,
                      certificate.name);
  return make_error(ErrorCode::kInvalidArgument, "--tls-cert, --tls-key: {}, {}: {}",
                    certificate.name, key.name, gnutls_strerror(code));
}

}  // namespace intaglio::server
