#include "run_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "support/temp_folder.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;

class RunFilesTest : public testing::Test {
 protected:
  std::string only_problem(Overwrite overwrite = Overwrite::kAllowed) const {
    const std::vector<Error> errors = files_.problems(overwrite);
    if (errors.size() != 1) return errors.empty() ? "none" : "several";
    return errors.front().message;
  }
  TempFolder folder_;
  RunFiles files_;
};

TEST_F(RunFilesTest, takes_new_and_old_files) {
  files_.writes(folder_ / "new", "--a");
  files_.writes(folder_.write("old", "x"), "--b");
  files_.writes("/dev/null", "--c");
  files_.writes("/dev/null", "--d");
  EXPECT_EQ(only_problem(), "none");
  EXPECT_EQ(folder_.entries(), 1u);  // looking leaves nothing
}

TEST_F(RunFilesTest, finds_one_file_by_two_spellings) {
  fs::create_directory(folder_ / "sub");
  fs::create_directory_symlink("sub", folder_ / "link");
  files_.writes(folder_ / "sub" / "f", "--a");
  files_.writes(folder_ / "link" / ".." / "sub" / "f", "--b");
  EXPECT_NE(only_problem().find("is the same file as --a"), std::string::npos) << only_problem();
}

TEST_F(RunFilesTest, finds_an_input_by_its_number) {
  const fs::path input = folder_.write("input", "x");
  fs::create_hard_link(input, folder_ / "hard");
  files_.reads(input, "the model");
  files_.writes(folder_ / "hard", "--a");
  EXPECT_NE(only_problem().find("is the same file as the model, an input"), std::string::npos);
}

TEST_F(RunFilesTest, follows_links_to_nothing) {
  fs::create_symlink("nothing", folder_ / "link");
  files_.writes(folder_ / "link", "--a");
  files_.writes(folder_ / "nothing", "--b");
  EXPECT_NE(only_problem().find("is the same file as --a"), std::string::npos);
}

TEST_F(RunFilesTest, refuses_what_cannot_be_written) {
  const auto problem_of = [&](const fs::path& file) {
    RunFiles files;
    files.writes(file, "--a");
    const auto errors = files.problems(Overwrite::kAllowed);
    return errors.size() == 1 ? errors.front().message : std::string("none");
  };
  EXPECT_NE(problem_of(folder_ / std::string(300, 'n')).find("too long"), std::string::npos);
  EXPECT_NE(problem_of(folder_ / "none" / "f").find("there is no folder"), std::string::npos);
  EXPECT_NE(problem_of(folder_.write("f", "x") / "g").find("Not a directory"), std::string::npos);
  fs::create_directory(folder_ / "folder");
  EXPECT_NE(problem_of(folder_ / "folder").find("is a folder"), std::string::npos);
  fs::create_symlink("b", folder_ / "a");
  fs::create_symlink("a", folder_ / "b");
  EXPECT_NE(problem_of(folder_ / "a"), "none");
}

TEST_F(RunFilesTest, keeps_files_where_asked) {
  files_.writes(folder_.write("old", "x"), "--a");
  EXPECT_NE(only_problem(Overwrite::kRefused).find("is there already"), std::string::npos);
}

TEST_F(RunFilesTest, makes_folders_and_takes_unused_ones_away) {
  const fs::path folder = folder_ / "a" / "b";
  files_.makes(folder.string() + "/");
  files_.writes(folder / "f", "--output");
  EXPECT_EQ(only_problem(), "none");
  EXPECT_FALSE(fs::exists(folder_ / "a"));
  ASSERT_TRUE(files_.make_folders());
  EXPECT_TRUE(fs::is_directory(folder));
  files_.remove_folders();
  EXPECT_FALSE(fs::exists(folder_ / "a"));
  files_.makes(folder_.write("file", "x"));
  EXPECT_NE(only_problem().find("is no folder"), std::string::npos);
}

}  // namespace
}  // namespace intaglio::cli
