#include "server/job_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/files.h"
#include "server/job_id.h"
#include "server/sqlite.h"
#include "support/temp_folder.h"

namespace intaglio::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class JobStoreTest : public testing::Test {
 protected:
  void SetUp() override { reopen(); }
  void reopen() {
    store.reset();
    auto opened = JobStore::open(folder.path());
    ASSERT_TRUE(opened.has_value()) << opened.error().message;
    store = std::move(*opened);
  }
  std::string add(const std::string& prompt, JobState state = JobState::kQueued,
                  double finished = 0) {
    StoredJob stored;
    Job& job = stored.job;
    last = next_job_id(last, 1.8e9).value();
    job.id = last;
    job.client = "c";
    job.state = state;
    job.created = 1.8e9;
    job.finished = finished;
    job.request.prompt = prompt;
    job.request.seed = 5;
    EXPECT_TRUE(store->add(stored));
    return last;
  }
  void add_picture(const std::string& id, int64_t index, size_t bytes) {
    JobPicture picture{.index = index, .seed = ~uint64_t{0}, .width = 16, .height = 32};
    EXPECT_TRUE(store->add_picture(id, picture, std::vector<uint8_t>(bytes, 'x')));
    EXPECT_EQ(picture.bytes, bytes);
  }
  std::string add_with(const std::vector<InputPicture>& inputs, double finished = 0) {
    StoredJob stored;
    last = stored.job.id = next_job_id(last, 1.8e9).value();
    stored.job.request.prompt = "x";
    stored.job.finished = finished;
    if (finished > 0) stored.job.state = JobState::kDone;
    EXPECT_TRUE(store->add(stored, inputs));
    return last;
  }
  std::vector<std::string> listed(const JobQuery& query) {
    std::vector<std::string> prompts;
    const std::vector<Job> jobs = store->list(query).value();
    for (const Job& job : jobs) prompts.push_back(job.request.prompt);
    return prompts;
  }

  TempFolder folder;
  std::unique_ptr<JobStore> store;
  std::string last;
};

TEST(Sqlite, AFullDiskIsNamed) {
  const TempFolder folder;
  Database database = Database::open(folder / "x.sqlite").value();
  ASSERT_TRUE(database.execute("CREATE TABLE t (x TEXT)"));
  ASSERT_TRUE(database.execute("PRAGMA max_page_count = 3"));  // SQLITE_FULL, as of a disk
  Statement insert = database.prepare("INSERT INTO t VALUES (?)").value();
  const Status status = insert.bind(std::string(1 << 16, 'x')).run();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "the database of jobs: cannot read or write: the disk is full");
}

TEST_F(JobStoreTest, EverythingIsThereAfterItIsOpenedAgain) {
  const std::string id = add("a cat");
  add_picture(id, 1, 30);
  add_picture(id, 0, 20);
  StoredJob stored = store->unfinished().value().at(0);
  stored.job.state = JobState::kFailed;
  stored.job.started = 1.8e9 + 1;
  stored.job.finished = 1.8e9 + 2;
  stored.job.error = JobError{"io", "full"};
  ASSERT_TRUE(store->update(stored));
  reopen();
  const Job job = store->get(id).value().value();
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.request.prompt, "a cat");
  EXPECT_EQ(job.started, 1.8e9 + 1);
  EXPECT_EQ(job.finished, 1.8e9 + 2);
  EXPECT_EQ(job.error->message, "full");
  ASSERT_EQ(job.pictures.size(), 2u);
  EXPECT_EQ(job.pictures[1].bytes, 30u);
  EXPECT_EQ(job.pictures[1].seed, ~uint64_t{0});
  EXPECT_EQ(read_file(store->picture_file(id, 0)).value(), std::string(20, 'x'));
  EXPECT_EQ(store->last_id().value(), id);
  EXPECT_THAT(store->unfinished().value(), IsEmpty());
}

TEST_F(JobStoreTest, ListsTheNewestFirstPageByPage) {
  const std::string first = add("1");
  add("2", JobState::kDone, 1);
  const std::string third = add("3");
  EXPECT_THAT(listed({}), ElementsAre("3", "2", "1"));
  EXPECT_THAT(listed({.limit = 2}), ElementsAre("3", "2"));
  EXPECT_THAT(listed({.before = third}), ElementsAre("2", "1"));
  EXPECT_THAT(listed({.before = first}), IsEmpty());
  EXPECT_THAT(listed({.state = JobState::kDone}), ElementsAre("2"));
  EXPECT_THAT(listed({.state = JobState::kQueued, .before = third}), ElementsAre("1"));
}

TEST_F(JobStoreTest, FindsWordsOfPrompts) {
  add("A red Café by the sea");
  add("a red fox; 100% \"new\"");
  EXPECT_THAT(listed({.text = "RED cafe"}), ElementsAre("A red Café by the sea"));
  EXPECT_THAT(listed({.text = "fo"}), ElementsAre("a red fox; 100% \"new\""));
  EXPECT_THAT(listed({.text = "\"new\""}), ElementsAre("a red fox; 100% \"new\""));
  EXPECT_THAT(listed({.text = "ed"}), IsEmpty());
  EXPECT_THAT(listed({.text = "red green"}), IsEmpty());
  // What is syntax of the search engine is text.
  for (const char* text : {"red OR green", "prompt:red*", "NEAR(", "\"", "* ^", "red' --"}) {
    EXPECT_TRUE(store->list({.text = text}).has_value()) << text;
  }
  const std::string id = add("gone");
  ASSERT_TRUE(store->remove(std::span(&id, 1)));
  EXPECT_THAT(listed({.text = "gone"}), IsEmpty());
}

TEST_F(JobStoreTest, SaysWhatToForget) {
  const std::string old = add("old", JobState::kDone, 100);
  add_picture(old, 0, 10);
  const std::string failed = add("failed", JobState::kFailed, 200);
  const std::string newer = add("newer", JobState::kDone, 300);
  add_picture(newer, 0, 10);
  const std::string newest = add("newest", JobState::kDone, 400);
  add_picture(newest, 0, 10);
  add_picture(add("waits"), 0, 1000);  // counts for nothing
  const auto expired = [&](double before, uint64_t bytes, int64_t limit = 9) {
    return store->expired(before, bytes, limit).value();
  };
  EXPECT_THAT(expired(0, 0), IsEmpty());
  EXPECT_THAT(expired(250, 0), ElementsAre(old, failed));
  EXPECT_THAT(expired(250, 0, 1), ElementsAre(old));
  EXPECT_THAT(expired(0, 30), IsEmpty());
  EXPECT_THAT(expired(0, 29), ElementsAre(old));
  EXPECT_THAT(expired(0, 5), ElementsAre(old, failed, newer, newest));
}

TEST_F(JobStoreTest, RemovesPicturesThatNoJobHas) {
  const std::string kept = add("kept");
  add_picture(kept, 0, 10);
  const std::string gone = next_job_id(last, 1.8e9).value();
  folder.write("pictures/" + gone + "/0.png", "left behind");
  folder.write("pictures/notes.txt", "of the user");
  reopen();
  EXPECT_FALSE(std::filesystem::exists(folder / ("pictures/" + gone)));
  EXPECT_TRUE(std::filesystem::exists(folder / "pictures/notes.txt"));
  EXPECT_TRUE(std::filesystem::exists(store->picture_file(kept, 0)));
}

TEST_F(JobStoreTest, InputsStayForTheirLastJob) {
  const InputPicture shared{.id = std::string(64, 'a'), .png = "shared"};
  const InputPicture own{.id = std::string(64, 'b'), .png = "own"};
  const std::string first = add_with({shared, own}), second = add_with({shared});
  reopen();
  EXPECT_EQ(read_file(store->input_file(shared.id)).value(), "shared");
  EXPECT_EQ(read_file(store->input_file(own.id)).value(), "own");
  ASSERT_TRUE(store->remove(std::span(&first, 1)));
  EXPECT_TRUE(std::filesystem::exists(store->input_file(shared.id)));
  EXPECT_FALSE(std::filesystem::exists(store->input_file(own.id)));
  ASSERT_TRUE(store->remove(std::span(&second, 1)));
  EXPECT_FALSE(std::filesystem::exists(store->input_file(shared.id)));
}

TEST_F(JobStoreTest, InputsOfJobsThatAreNotThereAreRemoved) {
  const std::string left = std::string(64, 'c');
  folder.write("inputs/" + left + ".png", "of a process that ended before it had stored the job");
  folder.write("inputs/notes.txt", "of the user");
  StoredJob stored;
  stored.job.id = add("x");  // taken
  EXPECT_FALSE(store->add(stored, std::vector<InputPicture>{{std::string(64, 'd'), "x"}}));
  EXPECT_FALSE(std::filesystem::exists(store->input_file(std::string(64, 'd'))));
  reopen();
  EXPECT_FALSE(std::filesystem::exists(store->input_file(left)));
  EXPECT_TRUE(std::filesystem::exists(folder / "inputs/notes.txt"));
}

TEST_F(JobStoreTest, InputsCountAsPicturesDo) {
  const std::string old = add_with({{std::string(64, 'a'), std::string(10, 'x')}}, 100);
  const std::string newer = add_with({{std::string(64, 'b'), std::string(10, 'x')}}, 200);
  EXPECT_THAT(store->expired(0, 20, 9).value(), IsEmpty());
  EXPECT_THAT(store->expired(0, 19, 9).value(), ElementsAre(old));
}

TEST_F(JobStoreTest, TakesADatabaseOfTheFirstVersion) {
  const std::string id = add("x");
  store.reset();
  {
    Database database = Database::open(folder / "jobs.sqlite").value();
    ASSERT_TRUE(database.execute("DROP TABLE inputs; PRAGMA user_version = 1"));
  }
  reopen();
  EXPECT_EQ(store->get(id).value()->request.prompt, "x");
  EXPECT_TRUE(store->remove(std::span(&id, 1)));
}

TEST_F(JobStoreTest, RefusesADatabaseOfANewerProgram) {
  store.reset();
  {
    Database database = Database::open(folder / "jobs.sqlite").value();
    ASSERT_TRUE(database.execute("PRAGMA user_version = 99"));
  }
  const auto opened = JobStore::open(folder.path());
  ASSERT_FALSE(opened.has_value());
  EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(opened.error().message, HasSubstr("a newer program made it (version 99"));
}

TEST_F(JobStoreTest, RefusesAFileThatIsNoDatabase) {
  store.reset();
  for (const auto& file : {"jobs.sqlite-wal", "jobs.sqlite-shm"})
    std::filesystem::remove(folder / file);
  folder.write("jobs.sqlite", std::string(5000, 'x'));
  const auto opened = JobStore::open(folder.path());
  ASSERT_FALSE(opened.has_value());
  EXPECT_THAT(opened.error().message, HasSubstr("file is not a database"));
}

}  // namespace
}  // namespace intaglio::server
