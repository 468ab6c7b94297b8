#include "server/job_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/server/sent_picture.h"

namespace intaglio::server {
namespace {

using testing::HasSubstr;

JobRequest parsed(std::string_view body) {
  const Accepted<JobRequest> request = parse_job_request(body);
  EXPECT_TRUE(request.has_value()) << request.error().message;
  return request ? *request : JobRequest{};
}

TEST(JobJson, EveryFieldOfARequestSurvives) {
  const std::string text =
      R"({"prompt":"a \"cat\"","negative_prompt":"dogs","model":"mini","width":128,"height":64,)"
      R"("preset":null,"steps":20,"guidance":"7x17,3x3","cache":"0.5","progressive":"8",)"
      R"("seed":18446744073709551615,)"
      R"("init_image":{"id":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","width":128,"height":64},)"
      R"("mask":{"id":"fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210","width":128,"height":64},)"
      R"("strength":0.5,"count":2,"loras":[{"name":"x","strength":0.5}],"priority":-3,"deadline_seconds":2.5,"previews":4})";
  EXPECT_EQ(json_text(request_json(parsed(text))), text);
}

TEST(JobJson, PicturesComeInBase64) {
  const JobRequest request =
      parsed(R"({"prompt":"x","init_image":")" + test::base64_png(3, 2, 9) +
             R"(","mask":"data:image/png;base64,)" + test::base64_png(3, 2, 255) + "\"}");
  ASSERT_NE(request.sent, nullptr);
  EXPECT_EQ(request.sent->image->pixels, test::plain_image(3, 2, 9).pixels);
  EXPECT_EQ(request.sent->mask->pixels, test::plain_image(3, 2, 255).pixels);
  EXPECT_FALSE(request.init_image.has_value());
  EXPECT_EQ(parsed(R"({"prompt":"x","init_image":null})").sent, nullptr);
}

TEST(JobJson, WarningsAreKeptAndNoClients) {
  JobRequest request = parsed(R"({"prompt":"x"})");
  request.warnings = {"it was never trained on \"x\""};
  const auto stored = read_stored_request(stored_request_text(request));
  ASSERT_TRUE(stored);
  EXPECT_EQ(stored->warnings, request.warnings);
  EXPECT_FALSE(parse_job_request(R"({"prompt":"x","warnings":[]})"));
  Job job;
  job.request = request;
  EXPECT_EQ(job_json(job)["warnings"][0], request.warnings[0]);
  EXPECT_FALSE(job_json(job)["request"].contains("warnings"));
}

// Versions of one queue: what an older one does not know is stored where somebody has said it.
TEST(JobJson, WhatIsNotSaidIsNotStored) {
  const auto stored = nlohmann::json::parse(stored_request_text(parsed(R"({"prompt":"x"})")));
  EXPECT_EQ(std::count(stored.begin(), stored.end(), nullptr), 0) << stored;
  EXPECT_FALSE(stored.contains("init_image"));
  EXPECT_EQ(stored["prompt"], "x");
}

TEST(JobJson, OfAnotherVersionsRequestWhatIsUnderstoodIsRead) {
  const auto read = read_foreign_request(
      R"({"prompt":"x","steps":4,"shine":3,"loras":[{"name":"a","rank":2}],"warnings":["w"]})");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->not_understood, "loras[0].rank: unknown field");
  EXPECT_EQ(read->request.prompt, "x");
  EXPECT_EQ(read->request.steps, 4);
  EXPECT_TRUE(read->request.loras.empty());
  EXPECT_EQ(read->request.warnings, std::vector<std::string>{"w"});
  EXPECT_EQ(read_foreign_request(R"({"prompt":"x"})")->not_understood, "");
  for (const char* text : {"", "[]", "{}", R"({"prompt":3,"shine":1})"})
    EXPECT_FALSE(read_foreign_request(text)) << text;
}

TEST(JobJson, OtherSpellings) {
  EXPECT_EQ(parsed(R"({"prompt":"x","size":"512x256"})").width, 512);
  EXPECT_EQ(parsed(R"({"prompt":"x","size":"512x256"})").height, 256);
  EXPECT_EQ(parsed(R"({"prompt":"x","guidance":4.5})").guidance, "4.5");
  for (const char* body : {R"({"prompt":"x","seed":-1})", R"({"prompt":"x","seed":null})"}) {
    EXPECT_EQ(parsed(body).seed, std::nullopt);
  }
  EXPECT_EQ(parsed(R"({"prompt":"x","loras":[{"name":"y"}]})").loras.at(0).strength, 1.0f);
}

TEST(JobJson, WhatIsWrongIsNamed) {
  struct Case {
    const char *body, *parameter, *message;
  };
  for (const Case& c : std::vector<Case>{
           {"", "", "no JSON"},
           {"[]", "", "expected an object with \"prompt\", found an array"},
           {"{\"prompt\":\"\xff\"}", "", "no JSON (in UTF-8)"},
           {R"({})", "prompt", "prompt: missing"},
           {R"({"prompt":3})", "prompt", "prompt: expected a string, found 3"},
           {R"({"prompt":"x","promt":"y"})", "promt", "promt: unknown field"},
           {R"({"prompt":"x","prompt":"y"})", "prompt", "prompt: is there twice"},
           {R"({"prompt":"x","steps":0})", "steps", "steps: expected a whole number from 1 to "},
           {R"({"prompt":"x","steps":2.5})", "steps", "found 2.5"},
           {R"({"prompt":"x","steps":18446744073709551615})", "steps", "found 184467440737095516"},
           {R"({"prompt":"x","steps":"20"})", "steps", "found \"20\""},
           {R"({"prompt":"x","size":"512"})", "size", "\"512x512\""},
           {R"({"prompt":"x","size":"512x512 "})", "size", "\"512x512\""},
           {R"({"prompt":"x","size":"-1x512"})", "size", "\"512x512\""},
           {R"({"prompt":"x","size":"511111112x512111112111"})", "size", "\"512x512\""},
           {R"({"prompt":"x","size":"5111111112x512"})", "size", "\"512x512\""},
           {R"({"prompt":"x","size":"8x8","width":8,"height":8})", "size", "found both"},
           {R"({"prompt":"x","seed":-2})", "seed", "seed: expected"},
           {R"({"prompt":"x","seed":1.5})", "seed", "seed: expected"},
           {R"({"prompt":"x","guidance":[7]})", "guidance", "found an array"},
           {R"({"prompt":"x","priority":1001})", "priority", "-1000 to 1000"},
           {R"({"prompt":"x","deadline_seconds":-1})", "deadline_seconds", "a number from 0"},
           {R"({"prompt":"x","strength":0})", "strength", "a number above 0 and up to 1, found 0"},
           {R"({"prompt":"x","strength":1.01})", "strength", "found 1.01"},
           {R"({"prompt":"x","init_image":3})", "init_image", "a picture in base64, found 3"},
           {R"({"prompt":"x","init_image":"?"})", "init_image", "a picture in base64"},
           {R"({"prompt":"x","init_image":"aGVsbG8="})", "init_image", "a PNG, JPEG or WebP"},
           {R"({"prompt":"x","mask":{"id":"../x"}})", "mask", "mask.id: expected the id"},
           {R"({"prompt":"x","mask":{}})", "mask.id", "missing"},
           {R"({"prompt":"x","loras":{}})", "loras", "loras: expected an array"},
           {R"({"prompt":"x","loras":["y"]})", "loras[0]", "expected an object, found \"y\""},
           {R"({"prompt":"x","loras":[{"strength":1}]})", "loras[0].name", "missing"},
           {R"({"prompt":"x","loras":[{"name":"y","weight":1}]})", "loras[0].weight", "unknown"},
           {R"({"prompt":"x","loras":[{"name":"y","strength":1e9}]})", "loras[0].strength",
            "a number from -1000 to 1000"}}) {
    const Accepted<JobRequest> request = parse_job_request(c.body);
    ASSERT_FALSE(request.has_value()) << c.body;
    EXPECT_EQ(request.error().parameter, c.parameter) << c.body;
    EXPECT_THAT(request.error().message, HasSubstr(c.message)) << c.body;
  }
}

TEST(JobJson, DeepNestingIsRefusedWithoutHarm) {
  const std::string deep =
      "{\"prompt\":" + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_THAT(parse_job_request(deep).error().message, HasSubstr("nested too deep"));
  const std::string prompt = std::string(100, '[') + "\\\"" + std::string(100, '{');
  EXPECT_EQ(parsed("{\"prompt\":\"" + prompt + "\"}").prompt.size(), 201u);
}

TEST(JobJson, StructureIsBoundedAndStringsAreNot) {
  const std::string long_text(3 << 20, '[');
  EXPECT_EQ(parsed("{\"prompt\":\"" + long_text + "\\\"\"}").prompt.size(), long_text.size() + 1);
  std::string many = R"({"prompt":"x","loras":[1)";
  for (int i = 0; i < 1 << 19; ++i) many += ",1";
  EXPECT_THAT(parse_job_request(many + "]}").error().message,
              HasSubstr("more than 1048576 bytes of JSON outside of strings"));
  EXPECT_TRUE(parse_request_json(many + "]}").is_discarded());
}

TEST(JobJson, AJob) {
  Job job;
  job.id = "01kzz000000123456789";
  job.state = JobState::kFailed;
  job.created = 1795960800.1234;
  job.finished = 1795960801;
  job.request.prompt = "x";
  job.request.priority = 2;
  job.progress = {.phase = "denoise",
                  .picture = 1,
                  .step = 3,
                  .steps = 20,
                  .fraction = 0.5,
                  .seconds_left = 1.25};
  job.pictures = {{.index = 0, .seed = 7, .width = 16, .height = 32, .bytes = 99}};
  job.error = JobError{"io", "no space left"};
  const Json json = job_json(job);
  EXPECT_EQ(json.at("status"), "failed");
  EXPECT_EQ(json.at("created_at"), "2026-11-29T14:00:00.123Z");
  EXPECT_EQ(json.at("started_at"), nullptr);
  EXPECT_EQ(json.at("finished_at"), "2026-11-29T14:00:01.000Z");
  EXPECT_EQ(json.at("priority"), 2);
  EXPECT_EQ(
      json.at("progress").dump(),
      R"({"phase":"denoise","picture":1,"step":3,"steps":20,"fraction":0.5,"seconds_left":1.25})");
  EXPECT_EQ(json.at("pictures").dump(),
            R"([{"index":0,"seed":7,"width":16,"height":32,"bytes":99,)"
            R"("url":"/api/jobs/01kzz000000123456789/pictures/0.png"}])");
  EXPECT_EQ(json.at("error").dump(), R"({"code":"io","message":"no space left"})");
  EXPECT_EQ(progress_json(job).at("id"), job.id);
  job.request.prompt = "\xff";
  EXPECT_THAT(json_text(job_json(job)), HasSubstr("\xef\xbf\xbd"));
}

}  // namespace
}  // namespace intaglio::server
