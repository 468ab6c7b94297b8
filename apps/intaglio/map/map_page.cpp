#include "map/map_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "advice/cost_model.h"
#include "advice/deployment_map.h"
#include "core/atomic_file.h"
#include "core/files.h"
#include "io/json_config.h"
#include "map/svg_chart.h"
#include "models/choose_picture.h"
#include "models/registry.h"

namespace intaglio::cli {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxResultBytes = size_t{16} << 20;
constexpr int64_t kSide = 1024, kSteps = 48;
constexpr std::array kPrecisions{Precision::kInt8, Precision::kFp8, Precision::kBf16,
                                 Precision::kInt8Dequant, Precision::kNf4};

Expected<std::vector<DeploymentMap>> read_maps(const fs::path& results) {
  std::vector<fs::path> files;
  std::error_code ignored;
  for (const auto& item : fs::directory_iterator(results, ignored)) {
    const std::string name = item.path().filename().string();
    if (name.starts_with("map_") && name.ends_with(".json")) files.push_back(item.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<DeploymentMap> maps;
  for (const fs::path& file : files) {
    INTAGLIO_ASSIGN(const std::string text, read_file(file, kMaxResultBytes));
    INTAGLIO_ASSIGN(DeploymentMap map, parse_deployment_map(text, file.filename().string()));
    maps.push_back(std::move(map));
  }
  if (maps.empty())
    return make_error(ErrorCode::kNotFound, "{}: no map_*.json, which `intaglio map --json` writes",
                      results.string());
  return maps;
}

const MapEntry* find_entry(const DeploymentMap& map, Precision precision, int64_t side) {
  for (const MapEntry& e : map.entries)
    if (e.precision == precision && e.width == side && e.height == side) return &e;
  return nullptr;
}

CardRates rates_of(const DeploymentMap& map) {
  CudaDevice device;
  device.name = map.device;
  const CardRates card = card_rates(device);
  return map.kernels == "wgmma" ? card : without_wgmma(card);
}

std::string title_of(const DeploymentMap& map) {
  return map.kernels == "wgmma" ? map.device : map.device + ", " + map.kernels + " only";
}

// The page is of the maps' own model.
double modelled_ms(const CardRates& card, Precision precision, int64_t text_tokens,
                   int64_t image_tokens) {
  static const std::unique_ptr<Transformer> model =
      (*synthetic_model("ideogram4"))->transformer(0, {});
  const auto pass = modelled_pass(card,
                                  {.width = model->width(),
                                   .linears = model->listed_linears(),
                                   .text_tokens = text_tokens,
                                   .image_tokens = image_tokens},
                                  precision);
  return pass ? pass->total_ms() : 0.0;
}

// In the mean of a picture's steps, which compute `step.first` passes with the text.
double modelled_step(const CardRates& card, Precision precision, const MapEntry& at,
                     const StepShape& step = {}) {
  const double with_text = modelled_ms(card, precision, at.text_tokens, at.image_tokens);
  if (with_text == 0.0) return 0.0;
  return step.first * with_text + step.other * modelled_ms(card, precision, 0, at.image_tokens);
}

// Steps of the model's own picture of kSteps, by the mask that `generate --cache SHARE` makes.
StepShape masked_step(double share) {
  const std::shared_ptr<const Model> model = *synthetic_model("ideogram4");
  std::vector<WrongSetting> wrong;
  const PictureChoices choices{.prompt = "a picture", .schedule = {.steps = kSteps}};
  Expected<Sampling> sampling =
      model->sampling(choose_picture(model->info(), choices, wrong).request);
  if (!sampling) return {};
  sampling->mask = spread_step_mask(*sampling, share);
  return step_shape(*sampling, model->cached_blocks());
}

std::string best_of(const std::map<Precision, double>& steps) {
  const auto best = std::min_element(
      steps.begin(), steps.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  return best == steps.end() ? "" : std::string(precision_name(best->first));
}

std::string header(const char* first, const char* last) {
  std::string head = fmt::format("| {} |", first), line = "\n| --- |";
  for (const Precision p : kPrecisions) {
    head += fmt::format(" {} |", precision_name(p));
    line += " --- |";
  }
  if (*last == '\0') return head + line + "\n";
  return head + fmt::format(" {} |", last) + line + " --- |\n";
}

std::string measured_table(const DeploymentMap& map) {
  std::vector<int64_t> sides;
  for (const MapEntry& e : map.entries)
    if (std::find(sides.begin(), sides.end(), e.width) == sides.end()) sides.push_back(e.width);
  std::string page = header("pixels, text", "fastest");
  for (const int64_t side : sides) {
    std::map<Precision, double> steps;
    std::string cells;
    const MapEntry* any = nullptr;
    for (const Precision p : kPrecisions) {
      const MapEntry* const e = find_entry(map, p, side);
      if (e == nullptr) {
        cells += "  |";
        continue;
      }
      any = e;
      steps[p] = e->step_ms();
      cells += fmt::format(" {:.1f} + {:.1f} ms |", e->conditional_ms, e->unconditional_ms);
    }
    page +=
        fmt::format("| {0}x{0}, {1} |{2} {3} |\n", side, any->text_tokens, cells, best_of(steps));
  }
  return page + "\n";
}

std::string memory_table(const DeploymentMap& map) {
  std::string page = header("pixels", "");
  for (const MapEntry& first : map.entries) {
    if (first.precision != Precision::kInt8) continue;
    page += fmt::format("| {0}x{0} |", first.width);
    for (const Precision p : kPrecisions) {
      const MapEntry* const e = find_entry(map, p, first.width);
      page += e == nullptr
                  ? "  |"
                  : fmt::format(" {:.1f} GB |", 1e-9 * static_cast<double>(e->resident_bytes));
    }
    page += "\n";
  }
  return page + "\n";
}

// The model against every measured pass: mean and largest difference by precision.
std::string validation_table(const std::vector<DeploymentMap>& maps) {
  std::string page =
      "| card | precision | passes | model / measured, least to greatest |\n| --- | --- | --- | "
      "--- "
      "|\n";
  for (const DeploymentMap& map : maps) {
    const CardRates card = rates_of(map);
    for (const Precision p : kPrecisions) {
      std::vector<double> ratios;
      for (const MapEntry& e : map.entries) {
        if (e.precision != p || modelled_ms(card, p, 0, e.image_tokens) == 0.0) continue;
        ratios.push_back(modelled_ms(card, p, e.text_tokens, e.image_tokens) / e.conditional_ms);
        ratios.push_back(modelled_ms(card, p, 0, e.image_tokens) / e.unconditional_ms);
      }
      if (ratios.empty()) continue;
      page += fmt::format("| {} | {} | {} | {:.2f} to {:.2f} |\n", title_of(map), precision_name(p),
                          ratios.size(), *std::min_element(ratios.begin(), ratios.end()),
                          *std::max_element(ratios.begin(), ratios.end()));
    }
  }
  return page + "\n";
}

bool is_measured(const std::vector<DeploymentMap>& maps, const CardRates& card) {
  return std::any_of(maps.begin(), maps.end(), [&](const DeploymentMap& map) {
    return map.device.find(card.name) != std::string::npos;
  });
}

// One step of cards that were not at hand, and which precision is the fastest that needs no
// streaming.
std::string modelled_table(const std::vector<DeploymentMap>& maps) {
  std::string page =
      header("card (modelled)", "fastest | of those resident | 48 steps | half of their passes");
  // Three more columns than header() rules.
  page.insert(page.rfind('\n'), " --- | --- | --- |");
  const StepShape half = masked_step(0.5);
  const DeploymentMap& sizes = maps.front();
  for (const CardRates& card : known_cards()) {
    if (is_measured(maps, card)) continue;
    std::map<Precision, double> steps, resident;
    std::string cells;
    for (const Precision p : kPrecisions) {
      const MapEntry* const at = find_entry(sizes, p, kSide);
      const double ms = at == nullptr ? 0.0 : modelled_step(card, p, *at);
      cells += ms == 0.0 ? "  |" : fmt::format(" {:.0f} ms |", ms);
      if (ms == 0.0) continue;
      steps[p] = ms;
      if (static_cast<double>(at->resident_bytes) < 0.97e9 * card.memory_gb) resident[p] = ms;
    }
    const std::string best = best_of(steps);
    const Precision fastest = *precision_from_name(best);
    const MapEntry& at = *find_entry(sizes, fastest, kSide);
    page += fmt::format(
        "| {}, {:.0f} GB |{} {} | {} | {:.0f} s | {:.0f} s |\n", card.name, card.memory_gb, cells,
        best, resident.empty() ? "none: stream" : best_of(resident),
        1e-3 * kSteps * steps.at(fastest), 1e-3 * kSteps * modelled_step(card, fastest, at, half));
  }
  return page + "\n";
}

std::string rates_table() {
  std::string page =
      "| card | int8 TOPS | bf16 TFLOPS | cuBLASLt bf16 | fp8 TFLOPS | memory GB/s | from |\n| --- "
      "| --- | --- | --- | --- | --- | --- |\n";
  for (const CardRates& c : known_cards())
    page += fmt::format("| {} | {:.0f} | {:.0f} | {:.0f} | {} | {:.0f} | {} |\n", c.name, c.s8_tops,
                        c.bf16_tflops, c.bf16_lt_tflops,
                        c.fp8_tflops > 0 ? fmt::format("{:.0f}", c.fp8_tflops) : "", c.memory_gb_s,
                        c.source);
  return page + "\n";
}

std::string map_svg(const std::vector<DeploymentMap>& maps) {
  BarChart chart{.title = "One step (both passes) at 1024 x 1024, 512 text tokens",
                 .unit = "ms",
                 .groups = {}};
  const auto add = [&](std::string name, bool modelled, const auto& step_of) {
    BarGroup group{std::move(name), {}};
    for (const Precision p : kPrecisions) {
      const double ms = step_of(p);
      if (ms > 0.0) group.bars.push_back({std::string(precision_name(p)), ms, modelled});
    }
    chart.groups.push_back(std::move(group));
  };
  for (const DeploymentMap& map : maps) {
    add(title_of(map), false, [&](Precision p) {
      const MapEntry* const e = find_entry(map, p, kSide);
      return e == nullptr ? 0.0 : e->step_ms();
    });
  }
  for (const CardRates& card : known_cards()) {
    if (is_measured(maps, card)) continue;
    add(std::string(card.name), true, [&](Precision p) {
      const MapEntry* const e = find_entry(maps.front(), p, kSide);
      return e == nullptr ? 0.0 : modelled_step(card, p, *e);
    });
  }
  return bar_chart_svg(chart);
}

std::string tokens_svg(const DeploymentMap& map) {
  LineChart chart{.title = "One pass against its tokens, " + title_of(map),
                  .x_label = "tokens (image and text)",
                  .y_label = "ms",
                  .lines = {}};
  for (const Precision p : kPrecisions) {
    ChartLine line{std::string(precision_name(p)), {}};
    for (const MapEntry& e : map.entries) {
      if (e.precision != p) continue;
      line.points.emplace_back(static_cast<double>(e.image_tokens), e.unconditional_ms);
      line.points.emplace_back(static_cast<double>(e.text_tokens + e.image_tokens),
                               e.conditional_ms);
    }
    std::sort(line.points.begin(), line.points.end());
    if (!line.points.empty()) chart.lines.push_back(std::move(line));
  }
  return line_chart_svg(chart);
}

// Whole pictures against steps: h100_image.json of `intaglio bench image --steps`.
Expected<std::string> steps_svg(const fs::path& file) {
  INTAGLIO_ASSIGN(const std::string text, read_file(file, kMaxResultBytes));
  INTAGLIO_ASSIGN(const nlohmann::json json, parse_json(text, file.string()));
  LineChart chart{.title = "A whole picture against its steps, 512 text tokens",
                  .x_label = "sampling steps",
                  .y_label = "s",
                  .lines = {}};
  std::map<std::string, std::map<double, double>> lines;
  try {
    for (const nlohmann::json& run : json.at("runs")) {
      for (const nlohmann::json& r : run.at("results")) {
        if (r.at("text_tokens") != 512) continue;
        const std::string name = fmt::format("{0}, {1}x{1}", run.at("precision").get<std::string>(),
                                             r.at("width").get<int64_t>());
        lines[name][r.at("steps").get<double>()] =
            1e-3 * r.at("phases").at("total").at("median_ms").get<double>();
      }
    }
  } catch (const nlohmann::json::exception&) {
    return make_error(
        ErrorCode::kBadFormat,
        "{}: not a result of `intaglio bench image`: a value is missing or of another "
        "type than expected",
        file.string());
  }
  for (const auto& [name, points] : lines)
    if (points.size() > 1) chart.lines.push_back({name, {points.begin(), points.end()}});
  return line_chart_svg(chart);
}

std::string make_page(const std::vector<DeploymentMap>& maps) {
  std::string page =
      "# Deployment map\n\n"
      "Which precision is the fastest on which card. Written by `intaglio map --docs docs` from "
      "`bench/results/map_*.json`; a test fails when page and results differ. Times are of one "
      "pass of Ideogram 4's transformer with random weights at full size, with text + without; a "
      "step of a picture is both.\n\n"
      "`intaglio map` measures the card at hand and keeps the result under "
      "`$XDG_CACHE_HOME/intaglio/map`, where `generate --precision auto` finds it; on a card that "
      "was not measured it takes the model below. With `--json bench/results/map_<card>.json` a "
      "card joins this page.\n\n"
      "![One step by card and precision](deployment-map.svg)\n\n"
      "## Measured\n";
  for (const DeploymentMap& map : maps)
    page += fmt::format("### {}\n{}", title_of(map), measured_table(map));
  page +=
      "The least memory with which no layer streams, text encoder dropped before, VAE and "
      "activations included:\n\n" +
      memory_table(maps.front()) +
      "![A pass against its tokens](cost-tokens.svg)\n\n![A picture against its "
      "steps](cost-steps.svg)\n\n"
      "## Modelled\n"
      "**Not measured: no such cards were at hand.** One step at 1024 x 1024 with 512 text tokens "
      "by "
      "`src/advice/cost_model.cpp`: operations and bytes over the card's rates, times the shares "
      "of those rates that the kernels reached on an H100. fp8 is left out where no product with "
      "row and column scales is known to run. Under \"of those resident\" is the fastest whose "
      "memory fits; int8 with streamed layers often still wins, as copies hide behind the compute. "
      "The last column is `generate --cache 0.5` ([fewer passes](fewer-passes.md)). "
      "docs/modelled-3090.md has a finer model of that card's int8 linears.\n\n" +
      modelled_table(maps) +
      "B200: this engine has no kernels with its newest instructions (tcgen05), so int8 and "
      "attention run by mma.sync there, at a rate that is assumed.\n\n"
      "The rates:\n\n" +
      rates_table() +
      "The model against every measured pass. The shares come from the H100's passes at 1024 x "
      "1024, so other sizes and cards are the test:\n\n" +
      validation_table(maps);
  page.pop_back();
  return page;
}

}  // namespace

Status write_map_docs(const fs::path& results, const fs::path& docs) {
  INTAGLIO_ASSIGN(const std::vector<DeploymentMap> maps, read_maps(results));
  INTAGLIO_ASSIGN(const std::string steps, steps_svg(results / "h100_image.json"));
  INTAGLIO_TRY(write_file_atomic(docs / "deployment-map.md", make_page(maps)));
  INTAGLIO_TRY(write_file_atomic(docs / "deployment-map.svg", map_svg(maps)));
  INTAGLIO_TRY(write_file_atomic(docs / "cost-tokens.svg", tokens_svg(maps.front())));
  return write_file_atomic(docs / "cost-steps.svg", steps);
}

}  // namespace intaglio::cli
