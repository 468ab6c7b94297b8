#include "eval/eval_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "core/base64.h"
#include "core/files.h"
#include "eval/bootstrap.h"
#include "eval/edit_distance.h"
#include "eval/report_page.h"

namespace intaglio::cli {
namespace {

using nlohmann::ordered_json;
using Values = std::vector<double>;
// By prompt.
using RecordsOfVariant = std::map<int64_t, Record>;

ordered_json interval_json(const Values& values) {
  if (values.empty()) return nullptr;
  const Interval interval = bootstrap_mean(values);
  return {{"mean", interval.mean},
          {"low", interval.low},
          {"high", interval.high},
          {"count", interval.count}};
}

std::optional<double> number(const Record& record, const char* key) {
  const auto found = record.find(key);
  if (found == record.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

std::map<int64_t, double> numbers_by_prompt(const RecordsOfVariant& records, const char* key) {
  std::map<int64_t, double> numbers;
  for (const auto& [prompt, record] : records)
    if (const auto value = number(record, key)) numbers[prompt] = *value;
  return numbers;
}

Values values_of(const std::map<int64_t, double>& by_prompt) {
  Values values;
  for (const auto& [prompt, value] : by_prompt) values.push_back(value);
  return values;
}

Values numbers(const RecordsOfVariant& records, const char* key) {
  return values_of(numbers_by_prompt(records, key));
}

// The k-th mean is of the k-th values of all lists.
ordered_json by_step(const std::vector<Values>& lists) {
  ordered_json steps = ordered_json::array();
  for (size_t k = 0;; ++k) {
    Values values;
    for (const Values& list : lists)
      if (k < list.size() && std::isfinite(list[k])) values.push_back(list[k]);
    const bool any = std::any_of(lists.begin(), lists.end(),
                                 [&](const Values& list) { return k < list.size(); });
    if (!any) return steps;
    steps.push_back(interval_json(values));
  }
}

// Numbers of a list; what is none is a NaN.
Values list_of(const Record& value) {
  Values values;
  if (!value.is_array()) return values;
  for (const Record& one : value) values.push_back(one.is_number() ? one.get<double>() : NAN);
  return values;
}

Values means_of(const std::vector<Values>& lists) {
  Values means;
  for (const Values& list : lists) {
    double sum = 0.0;
    int64_t count = 0;
    for (const double value : list) {
      if (!std::isfinite(value)) continue;
      sum += value;
      ++count;
    }
    if (count > 0) means.push_back(sum / static_cast<double>(count));
  }
  return means;
}

void add_traces(const RecordsOfVariant& traces, ordered_json& json) {
  std::vector<Values> velocity, drift;
  struct Linear {
    Record transformer, names;
    std::vector<Values> output;
  };
  std::vector<Linear> linears;
  for (const auto& [prompt, record] : traces) {
    if (record.contains("reason")) {
      json["not_traced"] = record["reason"];
      continue;
    }
    velocity.push_back(list_of(record.value("velocity", Record())));
    drift.push_back(list_of(record.value("drift", Record())));
    const Record all = record.value("linears", Record::array());
    linears.resize(std::max(linears.size(), all.size()));
    for (size_t i = 0; i < all.size(); ++i) {
      linears[i].transformer = all[i].value("transformer", Record());
      linears[i].names = all[i].value("names", Record());
      linears[i].output.push_back(list_of(all[i].value("output", Record())));
    }
  }
  if (velocity.empty()) return;
  json["velocity"] = interval_json(means_of(velocity));
  json["velocity_by_step"] = by_step(velocity);
  json["drift_by_step"] = by_step(drift);
  json["linears"] = ordered_json::array();
  for (const Linear& linear : linears)
    json["linears"].push_back({{"transformer", linear.transformer},
                               {"names", linear.names},
                               {"mean", interval_json(means_of(linear.output))}});
}

// How right a judge's finding is, by prompt.
struct Judged {
  std::string what;  // "text" or "object"
  std::map<int64_t, double> right, similarity;
};

std::string found_text(const Record& record) {
  for (const char* const what : {"text", "object"})
    if (const auto found = record.find(what); found != record.end() && found->is_string())
      return found->get<std::string>();
  return "";
}

Judged judged(const EvalPlan& plan, const std::vector<Record>& findings,
              const std::string& variant) {
  Judged result;
  for (const Record& record : findings) {
    const auto prompt = record.value("prompt", int64_t{-1});
    if (record.value("variant", "") != variant || prompt < 0 ||
        prompt >= static_cast<int64_t>(plan.prompts.size()))
      continue;
    const std::string what = record.contains("text") ? "text" : "object";
    const auto& expect = plan.prompts[static_cast<size_t>(prompt)].expect;
    if (!expect.contains(what) || !expect[what].is_string()) continue;
    const std::string asked = expect[what].get<std::string>(), found = found_text(record);
    result.what = what;
    result.right[prompt] = asked == found ? 1.0 : 0.0;
    result.similarity[prompt] = edit_similarity(asked, found);
  }
  return result;
}

// A network's score by prompt. Where lines of several weights lie, those of the last line count.
std::map<int64_t, double> scored(const std::vector<Record>& lines, const std::string& variant) {
  std::map<int64_t, double> scores;
  const std::string weights = lines.empty() ? "" : lines.back().value("weights", "");
  for (const Record& line : lines) {
    const auto score = number(line, "score");
    if (score && line.value("variant", "") == variant && line.value("weights", "") == weights)
      scores[line.value("prompt", int64_t{-1})] = *score;
  }
  return scores;
}

// Of the prompts that both have.
Values differences(const std::map<int64_t, double>& ours, const std::map<int64_t, double>& base) {
  Values values;
  for (const auto& [prompt, value] : ours)
    if (const auto other = base.find(prompt); other != base.end())
      values.push_back(value - other->second);
  return values;
}

// Of the same prompts.
Values ratios(const std::map<int64_t, double>& ours, const std::map<int64_t, double>& base) {
  Values values;
  for (const auto& [prompt, value] : ours)
    if (const auto other = base.find(prompt); other != base.end() && value > 0 && other->second > 0)
      values.push_back(value / other->second);
  return values;
}

class Report {
 public:
  explicit Report(const EvalFolder& folder) : folder_(folder), plan_(folder.plan()) {}

  Expected<ordered_json> result() {
    INTAGLIO_ASSIGN(const std::vector<Record> records, folder_.records());
    INTAGLIO_ASSIGN(judgements_, folder_.judgements());
    INTAGLIO_ASSIGN(scores_, folder_.scores());
    for (const Record& record : records) {
      const std::string kind = record.value("kind", "");
      const std::string variant = record.value("variant", "");
      const auto prompt = record.value("prompt", int64_t{-1});
      if (kind == "picture") pictures_[variant][prompt] = record;
      if (kind == "trace") traces_[variant][prompt] = record;
      if (kind == "about") about_[variant] = record;
    }
    ordered_json json{{"status", "ok"},
                      {"folder", folder_.path().string()},
                      {"prompts", plan_.prompts.size()},
                      {"width", plan_.width},
                      {"height", plan_.height},
                      {"traced", plan_.traced},
                      {"judges", ordered_json::array()},
                      {"scores", ordered_json::array()}};
    for (const auto& [judge, findings] : judgements_) {
      const std::string& source = plan_.variants.front().first;
      if (!judged(plan_, findings, source).right.empty()) json["judges"].push_back(judge);
    }
    for (const auto& [name, lines] : scores_)
      if (!lines.empty()) json["scores"].push_back(name);
    json["source"] = variant_json(0);
    json["candidates"] = ordered_json::array();
    for (size_t i = 1; i < plan_.variants.size(); ++i)
      if (pictures_.contains(plan_.variants[i].first)) json["candidates"].push_back(candidate(i));
    if (json["candidates"].empty())
      return make_error(ErrorCode::kNotFound, "{}: no candidate has a picture yet",
                        folder_.path().string());
    return json;
  }

 private:
  ordered_json variant_json(size_t which) {
    const auto& [name, text] = plan_.variants[which];
    ordered_json json{{"name", name}, {"text", text}, {"pictures", pictures_[name].size()}};
    if (const auto about = about_.find(name); about != about_.end()) {
      json["about"] = ordered_json::object();
      for (const char* const key :
           {"model", "model_hash", "precision", "schedule", "steps", "passes", "cache",
            "progressive", "device", "version", "file_bytes"})
        if (about->second.contains(key)) json["about"][key] = about->second[key];
    }
    json["denoise_ms"] = interval_json(numbers(pictures_[name], "denoise_ms"));
    add_judges(name, json);
    add_scores(name, json);
    return json;
  }

  // Those that compare with the source's pictures have none of its own.
  void add_scores(const std::string& variant, ordered_json& json) {
    for (const auto& [name, lines] : scores_) {
      const std::map<int64_t, double> ours = scored(lines, variant);
      const std::map<int64_t, double> base = scored(lines, plan_.variants.front().first);
      if (ours.empty()) continue;
      json["scored"][name]["score"] = interval_json(values_of(ours));
      if (!base.empty())
        json["scored"][name]["difference"] = interval_json(differences(ours, base));
    }
  }

  void add_judges(const std::string& name, ordered_json& json) {
    for (const auto& [judge, findings] : judgements_) {
      const Judged ours = judged(plan_, findings, name);
      const Judged base = judged(plan_, findings, plan_.variants.front().first);
      if (ours.right.empty() || base.right.empty()) continue;
      json["judged"][judge] = {
          {"what", ours.what},
          {"right", interval_json(values_of(ours.right))},
          {"right_difference", interval_json(differences(ours.right, base.right))},
          {"similarity", interval_json(values_of(ours.similarity))},
          {"similarity_difference", interval_json(differences(ours.similarity, base.similarity))}};
    }
  }

  ordered_json candidate(size_t which) {
    ordered_json json = variant_json(which);
    const std::string& name = plan_.variants[which].first;
    const RecordsOfVariant& ours = pictures_[name];
    const RecordsOfVariant& base = pictures_[plan_.variants.front().first];
    int64_t equal = 0;
    for (const auto& [prompt, record] : ours)
      if (const auto same = record.find("equal"); same != record.end() && *same == true) ++equal;
    json["equal"] = equal;
    json["psnr"] = interval_json(numbers(ours, "psnr"));
    json["ssim"] = interval_json(numbers(ours, "ssim"));
    json["ms_ssim"] = interval_json(numbers(ours, "ms_ssim"));
    json["latents"] = interval_json(numbers(ours, "latents"));
    json["speedup"] = interval_json(
        ratios(numbers_by_prompt(base, "denoise_ms"), numbers_by_prompt(ours, "denoise_ms")));
    add_baseline(name, json);
    add_traces(traces_[name], json);
    json["worst"] = worst(ours);
    return json;
  }

  // The candidate less the plain steps of as many passes, picture by picture.
  void add_baseline(const std::string& name, ordered_json& json) {
    const auto found = plan_.baselines.find(name);
    if (found == plan_.baselines.end() || pictures_[found->second].empty()) return;
    const RecordsOfVariant& ours = pictures_[name];
    const RecordsOfVariant& base = pictures_[found->second];
    ordered_json& baseline = json["baseline"];
    baseline["name"] = found->second;
    for (const char* const key : {"psnr", "ssim", "ms_ssim", "latents"})
      baseline[key] =
          interval_json(differences(numbers_by_prompt(ours, key), numbers_by_prompt(base, key)));
    baseline["time"] = interval_json(
        ratios(numbers_by_prompt(ours, "denoise_ms"), numbers_by_prompt(base, "denoise_ms")));
    for (const auto& [judge, findings] : judgements_) {
      const Judged mine = judged(plan_, findings, name);
      const Judged plain = judged(plan_, findings, found->second);
      if (mine.right.empty() || plain.right.empty()) continue;
      baseline["judged"][judge] = interval_json(differences(mine.right, plain.right));
    }
    for (const auto& [score, lines] : scores_) {
      const Values values = differences(scored(lines, name), scored(lines, found->second));
      if (!values.empty()) baseline["scored"][score] = interval_json(values);
    }
  }

  // All prompts by PSNR, the lowest first.
  static ordered_json worst(const RecordsOfVariant& records) {
    std::vector<std::pair<double, int64_t>> order;
    for (const auto& [prompt, record] : records)
      if (const auto value = number(record, "psnr")) order.emplace_back(*value, prompt);
    std::sort(order.begin(), order.end());
    ordered_json list = ordered_json::array();
    for (const auto& [value, prompt] : order) list.push_back({{"prompt", prompt}, {"psnr", value}});
    return list;
  }

  const EvalFolder& folder_;
  const EvalPlan& plan_;
  std::map<std::string, RecordsOfVariant> pictures_, traces_;
  std::map<std::string, Record> about_;
  std::map<std::string, std::vector<Record>> judgements_, scores_;
};

Expected<std::string> picture_address(const std::filesystem::path& file) {
  INTAGLIO_ASSIGN(const std::string png, read_file(file));
  return "data:image/png;base64," + base64(png);
}

}  // namespace

Expected<ordered_json> eval_result(const EvalFolder& folder) { return Report(folder).result(); }

Expected<std::string> eval_page(const EvalFolder& folder, const ordered_json& result,
                                int64_t worst) {
  constexpr std::string_view kPlace = "RESULT_JSON";
  ordered_json shown = result;
  const std::string& source = folder.plan().variants.front().first;
  for (ordered_json& candidate : shown["candidates"]) {
    ordered_json& list = candidate["worst"];
    if (static_cast<int64_t>(list.size()) > worst) list.erase(list.begin() + worst, list.end());
    const auto name = candidate["name"].get<std::string>();
    for (ordered_json& one : list) {
      const auto prompt = one["prompt"].get<int64_t>();
      INTAGLIO_ASSIGN(const std::string ours, picture_address(folder.picture(name, prompt)));
      INTAGLIO_ASSIGN(const std::string base, picture_address(folder.picture(source, prompt)));
      one["candidate"] = ours;
      one["source"] = base;
      one["prompt"] = folder.plan().prompts[static_cast<size_t>(prompt)].prompt;
    }
  }
  // No text of a prompt ends the page's script.
  std::string json = shown.dump();
  for (size_t at = 0; (at = json.find('<', at)) != std::string::npos;)
    json.replace(at, 1, "\\u003c");
  std::string page(report_page_files().front().text);
  return page.replace(page.find(kPlace), kPlace.size(), json);
}

}  // namespace intaglio::cli
