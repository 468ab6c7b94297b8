#include "server/job_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/atomic_file.h"
#include "core/files.h"
#include "server/job_id.h"
#include "server/job_json.h"
#include "server/sqlite.h"

namespace intaglio::server {
namespace {

namespace fs = std::filesystem;

// Each brings the database from the version of its place to the next; none may change once it is
// out.
constexpr const char* kMigrations[] = {R"sql(
  CREATE TABLE jobs(
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    client TEXT NOT NULL,
    state INTEGER NOT NULL,
    created REAL NOT NULL,
    started REAL NOT NULL,
    finished REAL NOT NULL,
    attempts INTEGER NOT NULL,
    request TEXT NOT NULL,
    error_code TEXT,
    error_message TEXT);
  CREATE INDEX jobs_by_state ON jobs(state, id);
  CREATE INDEX jobs_by_end ON jobs(finished) WHERE finished > 0;
  CREATE TABLE pictures(
    job INTEGER NOT NULL REFERENCES jobs(number) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY(job, place)) WITHOUT ROWID;
  CREATE VIRTUAL TABLE prompts USING fts5(prompt, tokenize = 'unicode61 remove_diacritics 2');
)sql",
                                       R"sql(
  CREATE TABLE inputs(
    job INTEGER NOT NULL REFERENCES jobs(number) ON DELETE CASCADE,
    id TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY(job, id)) WITHOUT ROWID;
  CREATE INDEX inputs_by_id ON inputs(id);
)sql"};
constexpr int64_t kVersion = std::size(kMigrations);

constexpr const char* kColumns =
    "number, id, client, state, created, started, finished, attempts, request, error_code, "
    "error_message";

tl::unexpected<Error> system_error(const fs::path& path, const char* what, int error) {
  return make_error(ErrorCode::kIo, "{}: {}: {}", path.string(), what, std::strerror(error));
}

// The folder belongs to this process for as long as the descriptor is open, however it ends.
Expected<int> lock_folder(const fs::path& folder) {
  const fs::path file = folder / "lock";
  const int descriptor = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) return system_error(file, "cannot open it", errno);
  if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    char owner[32] = {};
    const ssize_t size = ::pread(descriptor, owner, sizeof(owner) - 1, 0);
    ::close(descriptor);
    if (error != EWOULDBLOCK) return system_error(file, "cannot lock it", error);
    return make_error(ErrorCode::kIo,
                      "{}: another server works in this folder (process {}); stop it or give "
                      "this one a folder of its own",
                      folder.string(), size > 0 ? owner : "unknown");
  }
  const std::string owner = std::to_string(::getpid());
  // Only for the message above.
  if (::ftruncate(descriptor, 0) == 0)
    static_cast<void>(::pwrite(descriptor, owner.data(), owner.size(), 0));
  return descriptor;
}

Status migrate(Database& database, const fs::path& file) {
  INTAGLIO_ASSIGN(const std::string text, database.value_of("PRAGMA user_version"));
  const int64_t version = std::strtoll(text.c_str(), nullptr, 10);
  if (version > kVersion)
    return make_error(ErrorCode::kUnsupported,
                      "{}: a newer program made it (version {}, this one knows up to {})",
                      file.string(), version, kVersion);
  for (int64_t from = version; from < kVersion; ++from)
    INTAGLIO_TRY(database.transaction([&]() -> Status {
      INTAGLIO_TRY(database.execute(kMigrations[from]));
      return database.execute(fmt::format("PRAGMA user_version = {}", from + 1));
    }));
  return {};
}

// Words of a search as an expression of FTS5: each is in the prompt, or begins a word of it.
std::string match_of(std::string_view text) {
  std::string match;
  size_t at = 0;
  while ((at = text.find_first_not_of(" \t\r\n", at)) != text.npos) {
    const size_t end = std::min(text.find_first_of(" \t\r\n", at), text.size());
    match += match.empty() ? "\"" : " \"";
    for (const char c : text.substr(at, end - at)) {
      if (c == '\0') continue;
      match += c;
      if (c == '"') match += c;
    }
    match += "\"*";
    at = end;
  }
  return match;
}

}  // namespace

struct JobStore::State {
  fs::path folder;
  int lock = -1;
  std::mutex mutex;
  Database database;

  ~State() {
    if (lock >= 0) ::close(lock);
  }
  fs::path pictures() const { return folder / "pictures"; }
  fs::path inputs() const { return folder / "inputs"; }
  Expected<StoredJob> read(const Statement& row);
  Expected<std::vector<StoredJob>> read_all(Statement& rows);
  Status remove_orphans();
  // Those of them that no job has.
  Status remove_inputs(std::span<const std::string> ids);
  Status add_row(const StoredJob& stored, std::span<const InputPicture> inputs);
};

JobStore::JobStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
JobStore::~JobStore() = default;

Expected<std::unique_ptr<JobStore>> JobStore::open(const fs::path& folder) {
  auto state = std::make_unique<State>();
  state->folder = folder;
  std::error_code error;
  for (const fs::path& made : {state->pictures(), state->inputs()}) {
    fs::create_directories(made, error);
    if (error) return system_error(made, "cannot make the folder", error.value());
  }
  INTAGLIO_ASSIGN(state->lock, lock_folder(folder));
  const fs::path file = folder / "jobs.sqlite";
  INTAGLIO_ASSIGN(state->database, Database::open(file));
  Database& database = state->database;
  INTAGLIO_TRY(database.execute("PRAGMA journal_mode = WAL"));
  INTAGLIO_TRY(database.execute("PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON"));
  INTAGLIO_TRY(migrate(database, file));
  INTAGLIO_TRY(state->remove_orphans());
  return std::unique_ptr<JobStore>(new JobStore(std::move(state)));
}

// Folders of pictures that a process left when it forgot a job.
Status JobStore::State::remove_orphans() {
  std::error_code error;
  std::vector<fs::path> orphans;
  for (fs::directory_iterator it(pictures(), error), end; !error && it != end;
       it.increment(error)) {
    const std::string id = it->path().filename().string();
    if (!is_job_id(id)) continue;
    INTAGLIO_ASSIGN(Statement row, database.prepare("SELECT 1 FROM jobs WHERE id = ?"));
    INTAGLIO_ASSIGN(const bool known, row.bind(id).step());
    if (!known) orphans.push_back(it->path());
  }
  for (const fs::path& orphan : orphans) fs::remove_all(orphan, error);
  std::vector<std::string> found;
  for (fs::directory_iterator it(inputs(), error), end; !error && it != end; it.increment(error))
    if (is_input_id(it->path().stem().string())) found.push_back(it->path().stem().string());
  return remove_inputs(found);
}

Status JobStore::State::remove_inputs(std::span<const std::string> ids) {
  std::error_code ignored;
  for (const std::string& id : ids) {
    INTAGLIO_ASSIGN(Statement row, database.prepare("SELECT 1 FROM inputs WHERE id = ?"));
    INTAGLIO_ASSIGN(const bool is_used, row.bind(id).step());
    if (!is_used) fs::remove(folder / input_name(id), ignored);
  }
  return {};
}

Expected<StoredJob> JobStore::State::read(const Statement& row) {
  StoredJob stored;
  Job& job = stored.job;
  job.id = row.text(1);
  job.client = row.text(2);
  job.state = static_cast<JobState>(row.integer(3));
  job.created = row.real(4);
  job.started = row.real(5);
  job.finished = row.real(6);
  stored.attempts = static_cast<int>(row.integer(7));
  Accepted<JobRequest> request = read_stored_request(row.text(8));
  if (!request)
    return make_error(ErrorCode::kBadFormat, "the database of jobs: the request of {}: {}", job.id,
                      request.error().message);
  job.request = std::move(*request);
  if (!row.is_null(9)) job.error = JobError{row.text(9), row.text(10)};
  INTAGLIO_ASSIGN(Statement pictures,
                  database.prepare("SELECT place, seed, width, height, bytes FROM pictures WHERE "
                                   "job = ? ORDER BY place"));
  pictures.bind(row.integer(0));
  for (;;) {
    INTAGLIO_ASSIGN(const bool more, pictures.step());
    if (!more) return stored;
    job.pictures.push_back({.index = pictures.integer(0),
                            .seed = static_cast<uint64_t>(pictures.integer(1)),
                            .width = pictures.integer(2),
                            .height = pictures.integer(3),
                            .bytes = static_cast<uint64_t>(pictures.integer(4))});
  }
}

Expected<std::vector<StoredJob>> JobStore::State::read_all(Statement& rows) {
  std::vector<StoredJob> jobs;
  for (;;) {
    INTAGLIO_ASSIGN(const bool more, rows.step());
    if (!more) return jobs;
    INTAGLIO_ASSIGN(StoredJob stored, read(rows));
    jobs.push_back(std::move(stored));
  }
}

Status JobStore::probe() {
  const std::lock_guard lock(state_->mutex);
  return state_->database.execute(fmt::format("PRAGMA user_version = {}", kVersion));
}

Status JobStore::add(const StoredJob& stored, std::span<const InputPicture> inputs) {
  // Held over the files, too: another job's removal would take them for nobody's.
  const std::lock_guard lock(state_->mutex);
  std::vector<std::string> ids;
  Status added;
  for (const InputPicture& input : inputs) {
    ids.push_back(input.id);
    added = write_file_atomic(input_file(input.id), input.png);
    if (!added) break;
  }
  if (added) added = state_->add_row(stored, inputs);
  if (!added) static_cast<void>(state_->remove_inputs(ids));
  return added;
}

Status JobStore::State::add_row(const StoredJob& stored, std::span<const InputPicture> inputs) {
  const Job& job = stored.job;
  return database.transaction([&]() -> Status {
    INTAGLIO_ASSIGN(
        Statement row,
        database.prepare("INSERT INTO jobs(id, client, state, created, started, finished, "
                         "attempts, request) VALUES(?, ?, ?, ?, ?, ?, ?, ?)"));
    INTAGLIO_TRY(row.bind(job.id)
                     .bind(job.client)
                     .bind(static_cast<int64_t>(job.state))
                     .bind(job.created)
                     .bind(job.started)
                     .bind(job.finished)
                     .bind(int64_t{stored.attempts})
                     .bind(stored_request_text(job.request))
                     .run());
    const int64_t number = database.last_row();
    for (const InputPicture& input : inputs) {
      INTAGLIO_ASSIGN(Statement kept,
                      database.prepare("INSERT INTO inputs(job, id, bytes) VALUES(?, ?, ?)"));
      INTAGLIO_TRY(
          kept.bind(number).bind(input.id).bind(static_cast<int64_t>(input.png.size())).run());
    }
    INTAGLIO_ASSIGN(Statement prompt,
                    database.prepare("INSERT INTO prompts(rowid, prompt) VALUES(?, ?)"));
    return prompt.bind(number).bind(job.request.prompt).run();
  });
}

Status JobStore::update(const StoredJob& stored) {
  const std::lock_guard lock(state_->mutex);
  const Job& job = stored.job;
  INTAGLIO_ASSIGN(Statement row,
                  state_->database.prepare(
                      "UPDATE jobs SET state = ?, started = ?, finished = ?, attempts = ?, "
                      "error_code = ?, error_message = ? WHERE id = ?"));
  row.bind(static_cast<int64_t>(job.state))
      .bind(job.started)
      .bind(job.finished)
      .bind(int64_t{stored.attempts});
  if (job.error) {
    row.bind(job.error->code).bind(job.error->message);
  } else {
    row.bind_null().bind_null();
  }
  return row.bind(job.id).run();
}

Status JobStore::add_picture(const std::string& id, JobPicture& picture,
                             std::span<const uint8_t> png) {
  const fs::path file = picture_file(id, picture.index);
  std::error_code error;
  if (fs::create_directory(file.parent_path(), error)) flush_folder_of(file.parent_path());
  if (error) return system_error(file.parent_path(), "cannot make the folder", error.value());
  INTAGLIO_TRY(write_file_atomic(file, {reinterpret_cast<const char*>(png.data()), png.size()}));
  picture.bytes = png.size();
  const std::lock_guard lock(state_->mutex);
  INTAGLIO_ASSIGN(Statement row,
                  state_->database.prepare(
                      "INSERT OR REPLACE INTO pictures(job, place, seed, width, height, bytes) "
                      "SELECT number, ?, ?, ?, ?, ? FROM jobs WHERE id = ?"));
  return row.bind(picture.index)
      .bind(static_cast<int64_t>(picture.seed))
      .bind(picture.width)
      .bind(picture.height)
      .bind(static_cast<int64_t>(picture.bytes))
      .bind(id)
      .run();
}

Status JobStore::remove(std::span<const std::string> ids) {
  {
    const std::lock_guard lock(state_->mutex);
    Database& database = state_->database;
    std::vector<std::string> inputs;
    INTAGLIO_TRY(database.transaction([&]() -> Status {
      for (const std::string& id : ids) {
        INTAGLIO_ASSIGN(Statement input,
                        database.prepare("SELECT inputs.id FROM inputs JOIN jobs ON job = number "
                                         "WHERE jobs.id = ?"));
        input.bind(id);
        for (;;) {
          INTAGLIO_ASSIGN(const bool more, input.step());
          if (!more) break;
          inputs.push_back(input.text(0));
        }
        INTAGLIO_ASSIGN(Statement prompt,
                        database.prepare("DELETE FROM prompts WHERE rowid = (SELECT number FROM "
                                         "jobs WHERE id = ?)"));
        INTAGLIO_TRY(prompt.bind(id).run());
        INTAGLIO_ASSIGN(Statement job, database.prepare("DELETE FROM jobs WHERE id = ?"));
        INTAGLIO_TRY(job.bind(id).run());
      }
      return {};
    }));
    INTAGLIO_TRY(state_->remove_inputs(inputs));
  }
  // What cannot be removed now is, when the folder is opened the next time.
  std::error_code ignored;
  for (const std::string& id : ids) fs::remove_all(picture_file(id, 0).parent_path(), ignored);
  return {};
}

Expected<std::optional<Job>> JobStore::get(const std::string& id) const {
  const std::lock_guard lock(state_->mutex);
  INTAGLIO_ASSIGN(Statement row, state_->database.prepare(
                                     fmt::format("SELECT {} FROM jobs WHERE id = ?", kColumns)));
  INTAGLIO_ASSIGN(const bool found, row.bind(id).step());
  if (!found) return std::nullopt;
  INTAGLIO_ASSIGN(StoredJob stored, state_->read(row));
  return std::move(stored.job);
}

Expected<std::vector<Job>> JobStore::list(const JobQuery& query) const {
  const std::lock_guard lock(state_->mutex);
  const std::string match = match_of(query.text);
  std::string sql = fmt::format("SELECT {} FROM jobs WHERE 1", kColumns);
  if (query.state) sql += " AND state = ?";
  if (!query.before.empty()) sql += " AND id < ?";
  if (!match.empty()) sql += " AND number IN (SELECT rowid FROM prompts WHERE prompts MATCH ?)";
  INTAGLIO_ASSIGN(Statement rows, state_->database.prepare(sql + " ORDER BY id DESC LIMIT ?"));
  if (query.state) rows.bind(static_cast<int64_t>(*query.state));
  if (!query.before.empty()) rows.bind(query.before);
  if (!match.empty()) rows.bind(match);
  rows.bind(query.limit);
  INTAGLIO_ASSIGN(std::vector<StoredJob> stored, state_->read_all(rows));
  std::vector<Job> jobs;
  for (StoredJob& one : stored) jobs.push_back(std::move(one.job));
  return jobs;
}

Expected<std::vector<StoredJob>> JobStore::unfinished() const {
  const std::lock_guard lock(state_->mutex);
  INTAGLIO_ASSIGN(Statement rows,
                  state_->database.prepare(fmt::format(
                      "SELECT {} FROM jobs WHERE state IN ({}, {}) ORDER BY id", kColumns,
                      static_cast<int>(JobState::kQueued), static_cast<int>(JobState::kRunning))));
  return state_->read_all(rows);
}

Expected<std::string> JobStore::last_id() const {
  const std::lock_guard lock(state_->mutex);
  return state_->database.value_of("SELECT max(id) FROM jobs");
}

Expected<std::vector<std::string>> JobStore::expired(double before, uint64_t bytes,
                                                     int64_t limit) const {
  const std::lock_guard lock(state_->mutex);
  // The sum runs from the job that ended last.
  INTAGLIO_ASSIGN(
      Statement rows,
      state_->database.prepare(
          "SELECT id FROM (SELECT number, id, finished, sum((SELECT total(bytes) FROM pictures "
          "WHERE job = number) + (SELECT total(bytes) FROM inputs WHERE job = number)) OVER (ORDER "
          "BY finished DESC, number DESC) AS kept FROM jobs WHERE "
          "finished > 0) WHERE finished < ? OR (? > 0 AND kept > ?) ORDER BY finished, number "
          "LIMIT ?"));
  const auto most = static_cast<int64_t>(bytes);
  rows.bind(before).bind(most).bind(most).bind(limit);
  std::vector<std::string> ids;
  for (;;) {
    INTAGLIO_ASSIGN(const bool more, rows.step());
    if (!more) return ids;
    ids.push_back(rows.text(0));
  }
}

fs::path JobStore::picture_file(const std::string& id, int64_t index) const {
  return state_->pictures() / id / fmt::format("{}.png", index);
}

fs::path JobStore::input_file(const std::string& input) const {
  return state_->folder / input_name(input);
}

}  // namespace intaglio::server
