#include "server/sqlite.h"

#include <sqlite3.h>

namespace intaglio::server {
namespace {

tl::unexpected<Error> failure(sqlite3* database, const char* what) {
  if (database != nullptr && sqlite3_errcode(database) == SQLITE_FULL)
    return make_error(ErrorCode::kIo, "the database of jobs: {}: the disk is full", what);
  return make_error(ErrorCode::kIo, "the database of jobs: {}: {}", what,
                    database != nullptr ? sqlite3_errmsg(database) : "out of memory");
}

}  // namespace

void Database::Close::operator()(sqlite3* database) const { sqlite3_close(database); }
void Database::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

Expected<Database> Database::open(const std::filesystem::path& file) {
  sqlite3* handle = nullptr;
  const int code =
      sqlite3_open_v2(file.c_str(), &handle,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  Database database;
  database.database_.reset(handle);  // there is one of a failure, too
  if (code != SQLITE_OK)
    return make_error(ErrorCode::kIo, "{}: cannot open the database of jobs: {}", file.string(),
                      handle != nullptr ? sqlite3_errmsg(handle) : "out of memory");
  return database;
}

Status Database::execute(const std::string& sql) {
  if (sqlite3_exec(database_.get(), sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return failure(database_.get(), "cannot write");
}

Expected<Statement> Database::prepare(const std::string& sql) {
  auto& statement = statements_[sql];
  if (statement == nullptr) {
    sqlite3_stmt* made = nullptr;
    if (sqlite3_prepare_v3(database_.get(), sql.c_str(), static_cast<int>(sql.size()),
                           SQLITE_PREPARE_PERSISTENT, &made, nullptr) != SQLITE_OK)
      return failure(database_.get(), "cannot prepare a statement");
    statement.reset(made);
  }
  return Statement(database_.get(), statement.get());
}

Expected<std::string> Database::value_of(const std::string& sql) {
  INTAGLIO_ASSIGN(Statement statement, prepare(sql));
  INTAGLIO_ASSIGN(const bool found, statement.step());
  return found ? statement.text(0) : std::string();
}

int64_t Database::changes() const { return sqlite3_changes64(database_.get()); }
int64_t Database::last_row() const { return sqlite3_last_insert_rowid(database_.get()); }

Statement::~Statement() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

// A binding fails where memory does, and the step after it then, too: of a NULL that a column
// refuses.
Statement& Statement::bind(std::string_view value) {
  sqlite3_bind_text64(statement_, ++bound_, value.data(), value.size(), SQLITE_TRANSIENT,
                      SQLITE_UTF8);
  return *this;
}
Statement& Statement::bind(int64_t value) {
  sqlite3_bind_int64(statement_, ++bound_, value);
  return *this;
}
Statement& Statement::bind(double value) {
  sqlite3_bind_double(statement_, ++bound_, value);
  return *this;
}
Statement& Statement::bind_null() {
  sqlite3_bind_null(statement_, ++bound_);
  return *this;
}

Expected<bool> Statement::step() {
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW:
      return true;
    case SQLITE_DONE:
      return false;
    default:
      return failure(database_, "cannot read or write");
  }
}

Status Statement::run() {
  INTAGLIO_TRY(step());
  return {};
}

std::string Statement::text(int column) const {
  const auto* const bytes = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  const auto size = static_cast<size_t>(sqlite3_column_bytes(statement_, column));
  return bytes == nullptr ? std::string() : std::string(bytes, size);
}
int64_t Statement::integer(int column) const { return sqlite3_column_int64(statement_, column); }
double Statement::real(int column) const { return sqlite3_column_double(statement_, column); }
bool Statement::is_null(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

}  // namespace intaglio::server
