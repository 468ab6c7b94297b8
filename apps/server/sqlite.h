// SQLite as values and errors of this engine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/status.h"

struct sqlite3;
struct sqlite3_stmt;

namespace intaglio::server {

// A prepared statement, between its reset and the next one. Parameters are bound in their order.
class Statement {
 public:
  Statement(sqlite3* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  Statement(Statement&& other) noexcept
      : database_(other.database_),
        statement_(std::exchange(other.statement_, nullptr)),
        bound_(other.bound_) {}
  Statement& operator=(Statement&&) = delete;
  ~Statement();

  Statement& bind(std::string_view value);
  Statement& bind(int64_t value);
  Statement& bind(double value);
  Statement& bind_null();

  // To the next row: false where there is none. kIo with the database's reason.
  Expected<bool> step();
  // Of a statement without rows.
  Status run();

  std::string text(int column) const;
  int64_t integer(int column) const;
  double real(int column) const;
  bool is_null(int column) const;

 private:
  sqlite3* database_ = nullptr;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
};

// One connection, for one thread at a time. Statements are prepared once for each text.
class Database {
 public:
  // kIo with the file and the database's reason.
  static Expected<Database> open(const std::filesystem::path& file);

  // Several statements without parameters or rows.
  Status execute(const std::string& sql);
  // `sql` is of one statement that no other use of the same text is in the midst of.
  Expected<Statement> prepare(const std::string& sql);
  // One value of one row.
  Expected<std::string> value_of(const std::string& sql);
  int64_t changes() const;   // rows of the last statement
  int64_t last_row() const;  // that was inserted

  // All of `body` or nothing.
  template <typename Body>
  Status transaction(Body&& body) {
    INTAGLIO_TRY(execute("BEGIN IMMEDIATE"));
    Status status = body();
    if (status) status = execute("COMMIT");
    if (!status) static_cast<void>(execute("ROLLBACK"));
    return status;
  }

 private:
  struct Close {
    void operator()(sqlite3* database) const;
  };
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  std::unique_ptr<sqlite3, Close> database_;
  std::map<std::string, std::unique_ptr<sqlite3_stmt, Finalize>> statements_;
};

}  // namespace intaglio::server
