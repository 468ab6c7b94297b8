// On libcurl, which signs requests itself (AWS Signature Version 4, CURLOPT_AWS_SIGV4).
#include "server/s3_store.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <thread>

#include "core/files.h"
#include "server/sha256.h"

namespace intaglio::server {
namespace {

namespace fs = std::filesystem;

constexpr long kConnectSeconds = 5, kSeconds = 60;
constexpr long kExpectMilliseconds = 50;  // for "100 Continue", which not every store knows
constexpr int kTries = 4;                 // where the store itself fails
constexpr std::chrono::milliseconds kFirstWait{250};  // between them, then twice as long
constexpr size_t kShown = 200;                        // bytes of what the store says
constexpr uint64_t kCacheBytes = uint64_t{2} << 30;

struct FreeHandle {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

struct Account {
  std::string endpoint, region, key, secret, token;
};

struct Answer {
  long status = 0;
  std::string body;
};

std::string first_of(std::initializer_list<const char*> values) {
  for (const char* const value : values)
    if (value != nullptr && *value != '\0') return value;
  return "";
}

size_t take(char* data, size_t size, size_t count, void* target) {
  static_cast<std::string*>(target)->append(data, size * count);
  return size * count;
}

bool is_name(std::string_view text, std::string_view more) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           more.find(c) != more.npos;
  });
}

Expected<Account> read_account(std::string_view flag) {
  Account account;
  account.region = first_of({std::getenv("AWS_REGION"), std::getenv("AWS_DEFAULT_REGION")});
  if (account.region.empty()) account.region = "us-east-1";
  account.endpoint =
      first_of({std::getenv("AWS_ENDPOINT_URL_S3"), std::getenv("AWS_ENDPOINT_URL")});
  if (account.endpoint.empty())
    account.endpoint = fmt::format("https://s3.{}.amazonaws.com", account.region);
  while (account.endpoint.ends_with('/')) account.endpoint.pop_back();
  if (!account.endpoint.starts_with("http://") && !account.endpoint.starts_with("https://"))
    return make_error(ErrorCode::kInvalidArgument,
                      "AWS_ENDPOINT_URL: expected http:// or https:// and a host, found \"{}\"",
                      account.endpoint);
  account.key = first_of({std::getenv("AWS_ACCESS_KEY_ID")});
  account.secret = first_of({std::getenv("AWS_SECRET_ACCESS_KEY")});
  account.token = first_of({std::getenv("AWS_SESSION_TOKEN")});
  if (account.key.empty() || account.secret.empty())
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: an s3:// address needs AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in "
                      "the environment",
                      flag);
  return account;
}

class S3Store final : public PictureStore {
 public:
  S3Store(Account account, std::string bucket, std::string prefix, fs::path cache)
      : account_(std::move(account)),
        bucket_(std::move(bucket)),
        prefix_(std::move(prefix)),
        cache_(std::move(cache)) {}

  std::string place() const override {
    return fmt::format("s3://{}{}{} at {}", bucket_, prefix_.empty() ? "" : "/", prefix_,
                       account_.endpoint);
  }

  Status put(const std::string& name, std::string_view bytes) override {
    INTAGLIO_ASSIGN(const Answer answer, ask("PUT", name, bytes));
    if (answer.status / 100 == 2) return {};
    return refused("write", name, answer);
  }

  Expected<bool> has(const std::string& name) override {
    INTAGLIO_ASSIGN(const Answer answer, ask("HEAD", name));
    if (answer.status / 100 == 2) return true;
    if (answer.status == 404) return false;
    return refused("read", name, answer);
  }

  Expected<fs::path> file(const std::string& name) override {
    // One file a name: pictures never change.
    std::string local = name;
    std::replace(local.begin(), local.end(), '/', '-');
    const fs::path copy = cache_ / local;
    std::error_code ignored;
    if (fs::is_regular_file(copy, ignored)) {
      fs::last_write_time(copy, fs::file_time_type::clock::now(), ignored);
      return copy;
    }
    INTAGLIO_ASSIGN(const Answer answer, ask("GET", name));
    if (answer.status / 100 != 2) return refused("read", name, answer);
    std::error_code error;
    fs::create_directories(cache_, error);
    if (error)
      return make_error(ErrorCode::kIo, "{}: cannot make the folder: {}", cache_.string(),
                        error.message());
    INTAGLIO_TRY(write_file_atomic(copy, answer.body));
    bound_cache(answer.body.size());
    return copy;
  }

  Status remove(const std::vector<std::string>& names) override {
    for (const std::string& name : names) {
      INTAGLIO_ASSIGN(const Answer answer, ask("DELETE", name));
      if (answer.status / 100 != 2 && answer.status != 404) return refused("remove", name, answer);
    }
    return {};
  }

 private:
  tl::unexpected<Error> refused(std::string_view what, const std::string& name,
                                const Answer& answer) const {
    std::string_view reason;
    if (answer.status == 403) reason = " (the keys may not do this, or are wrong)";
    if (answer.status == 404) reason = " (there is no such bucket, or file)";
    return make_error(answer.status == 404 ? ErrorCode::kNotFound : ErrorCode::kIo,
                      "{}: cannot {} {}: the store answers {}{}: {}", place(), what, name,
                      answer.status, reason, answer.body.substr(0, kShown));
  }

  // Tried again where the store is away or says that it fails.
  Expected<Answer> ask(const char* method, const std::string& name,
                       std::string_view body = {}) const {
    auto wait = kFirstWait;
    for (int i = 1;; ++i, wait *= 2) {
      Expected<Answer> answer = ask_once(method, name, body);
      const bool failed = !answer || answer->status >= 500 || answer->status == 429;
      if (!failed || i == kTries) return answer;
      std::this_thread::sleep_for(wait);
    }
  }

  Expected<Answer> ask_once(const std::string& method, const std::string& name,
                            std::string_view body) const {
    const std::unique_ptr<CURL, FreeHandle> handle(curl_easy_init());
    if (!handle) return make_error(ErrorCode::kOutOfMemory, "no memory for a request");
    CURL* const c = handle.get();
    const std::string url = fmt::format("{}/{}/{}{}{}", account_.endpoint, bucket_, prefix_,
                                        prefix_.empty() ? "" : "/", name);
    const std::string account = account_.key + ":" + account_.secret;
    const std::string signature = fmt::format("aws:amz:{}:s3", account_.region);
    std::unique_ptr<curl_slist, FreeHandle> headers;
    const auto header = [&](const std::string& line) {
      headers.reset(curl_slist_append(headers.release(), line.c_str()));
    };
    if (method == "PUT") header("Content-Type: image/png");
    // curl signs the headers it is given: the hash of the body has to be one of them.
    header("x-amz-content-sha256: " + sha256(body));
    if (!account_.token.empty()) header("x-amz-security-token: " + account_.token);
    Answer answer;
    curl_easy_setopt(c, CURLOPT_URL, url.c_str());
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(c, CURLOPT_AWS_SIGV4, signature.c_str());
    curl_easy_setopt(c, CURLOPT_USERPWD, account.c_str());
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_EXPECT_100_TIMEOUT_MS, kExpectMilliseconds);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    curl_easy_setopt(c, CURLOPT_TIMEOUT, kSeconds);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &answer.body);
    if (method == "PUT") {
      curl_easy_setopt(c, CURLOPT_POSTFIELDS, body.data());
      curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    }
    if (method == "HEAD") {
      curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    } else if (method != "GET") {
      curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, method.c_str());
    }
    const CURLcode code = curl_easy_perform(c);
    if (code != CURLE_OK)
      return make_error(ErrorCode::kIo, "{}: {}", place(), std::string(curl_easy_strerror(code)));
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &answer.status);
    return answer;
  }

  // Of the local copies those go that were not asked for longest.
  void bound_cache(uint64_t added) {
    const std::lock_guard lock(mutex_);
    cached_ += added;
    if (known_ && cached_ <= kCacheBytes) return;
    struct Copy {
      fs::file_time_type used;
      fs::path path;
      uint64_t bytes;
    };
    std::vector<Copy> copies;
    std::error_code error;
    cached_ = 0;
    for (const fs::directory_entry& entry : fs::directory_iterator(cache_, error)) {
      std::error_code gone;
      const uint64_t bytes = entry.file_size(gone);
      if (gone) continue;
      copies.push_back({entry.last_write_time(gone), entry.path(), bytes});
      cached_ += bytes;
    }
    known_ = true;
    std::sort(copies.begin(), copies.end(),
              [](const Copy& a, const Copy& b) { return a.used < b.used; });
    for (const Copy& copy : copies) {
      if (cached_ <= kCacheBytes * 3 / 4) return;
      if (fs::remove(copy.path, error)) cached_ -= copy.bytes;
    }
  }

  const Account account_;
  const std::string bucket_, prefix_;
  const fs::path cache_;
  std::mutex mutex_;
  uint64_t cached_ = 0;  // bytes
  bool known_ = false;   // whether cached_ counts what an earlier process left
};

}  // namespace

Expected<std::unique_ptr<PictureStore>> open_s3_store(std::string_view flag, std::string_view place,
                                                      const fs::path& cache) {
  const size_t slash = std::min(place.find('/'), place.size());
  const std::string_view bucket = place.substr(0, slash);
  std::string_view prefix = place.substr(std::min(slash + 1, place.size()));
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  if (!is_name(bucket, ".-") || (!prefix.empty() && !is_name(prefix, "._-/")) ||
      prefix.find("//") != prefix.npos)
    return make_error(ErrorCode::kInvalidArgument,
                      "{}: expected s3://BUCKET or s3://BUCKET/PREFIX of letters, digits, '.', "
                      "'-' and '_', found \"s3://{}\"",
                      flag, place);
  INTAGLIO_ASSIGN(Account account, read_account(flag));
  // Not safe beside other threads of curl.
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (started != CURLE_OK)
    return make_error(ErrorCode::kInternal, "{}: {}", flag,
                      std::string(curl_easy_strerror(started)));
  return std::make_unique<S3Store>(std::move(account), std::string(bucket), std::string(prefix),
                                   cache);
}

}  // namespace intaglio::server
