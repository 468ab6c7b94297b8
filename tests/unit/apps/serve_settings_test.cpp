#include "serve/serve_settings.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <cstdlib>

#include "argument_values.h"
#include "core/files.h"
#include "support/temp_folder.h"

namespace intaglio::cli {
namespace {

class Settings : public ::testing::Test {
 protected:
  Settings() {
    command_.add_option("--host", host_);
    limit(command_.add_option("--max-queue", queue_), 1, 100);
    command_.add_option("--model", models_)->allow_extra_args(false);
    command_.add_option("--config", config_);
  }
  ~Settings() override {
    for (const char* name : {"T_HOST", "T_MAX_QUEUE", "T_CONFIG"}) ::unsetenv(name);
  }
  Status apply(const std::string& text, std::vector<std::string> words = {}) {
    EXPECT_TRUE(write_file_atomic(file_, text));
    std::reverse(words.begin(), words.end());
    command_.parse(words);
    return apply_settings(command_, "T", file_);
  }

  const TempFolder folder_;
  const std::filesystem::path file_ = folder_ / "serve_settings_test.toml";
  CLI::App command_;
  std::string host_ = "default", config_;
  int queue_ = 10;
  std::vector<std::string> models_{"mini"};
};

TEST_F(Settings, ComeFromTheFileInItsOrder) {
  ASSERT_TRUE(apply("# mine\nhost = \"file\"\nmax-queue = 5\nmodel = [\"a\", \"b\"]\n"));
  EXPECT_EQ(host_, "file");
  EXPECT_EQ(queue_, 5);
  EXPECT_EQ(models_, (std::vector<std::string>{"a", "b"}));
}

TEST_F(Settings, TheEnvironmentGoesBeforeTheFile) {
  ::setenv("T_HOST", "environment", 1);
  ASSERT_TRUE(apply("host = \"file\"\nmax-queue = 5\n"));
  EXPECT_EQ(host_, "environment");
  EXPECT_EQ(queue_, 5);
}

TEST_F(Settings, TheCommandLineGoesBeforeBoth) {
  ::setenv("T_HOST", "environment", 1);
  ASSERT_TRUE(apply("host = \"file\"\nmax-queue = 5\n", {"--host", "line", "--max-queue", "7"}));
  EXPECT_EQ(host_, "line");
  EXPECT_EQ(queue_, 7);
}

TEST_F(Settings, AnEmptyVariableIsNone) {
  ::setenv("T_HOST", "", 1);
  ASSERT_TRUE(apply(""));
  EXPECT_EQ(host_, "default");
}

TEST_F(Settings, SayWhereAWrongOneStands) {
  const auto message = [&](const std::string& text) {
    const Status status = apply(text);
    return status ? "" : status.error().message;
  };
  EXPECT_NE(message("hots = 1\n").find("unknown setting \"hots\", nearest: host"),
            std::string::npos);
  EXPECT_NE(message("config = \"x\"\n").find("unknown setting \"config\""), std::string::npos);
  EXPECT_NE(message("[section]\nhost = 1\n").find("expected no sections"), std::string::npos);
  const std::string wrong = message("max-queue = 0\n");
  EXPECT_NE(wrong.find("serve_settings_test.toml: --max-queue: expected a whole number from 1"),
            std::string::npos)
      << wrong;
}

TEST_F(Settings, SayWhichVariableIsWrong) {
  ::setenv("T_MAX_QUEUE", "many", 1);
  const Status status = apply("");
  ASSERT_FALSE(status);
  EXPECT_TRUE(status.error().message.starts_with("T_MAX_QUEUE: ")) << status.error().message;
}

}  // namespace
}  // namespace intaglio::cli
