#include "verify/verify_formats.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>

#include "core/context.h"
#include "core/files.h"
#include "io/formats/stored_weights.h"
#include "io/json_config.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExpected = "expected.safetensors";
// Of tests/formats/README.md.
constexpr double kWeightTolerance = 2e-6, kProductTolerance = 1e-5;
constexpr int64_t kInputRows = 3;
constexpr size_t kMaxDescriptionBytes = size_t{1} << 20;

// "F/P" of a tensor "F/P/W".
struct LinearCase {
  std::string file, linear;
  std::string tensor(const char* what) const { return fmt::format("{}/{}/{}", file, linear, what); }
};

// What the checkpoints of `folder` call linears whose expected values have other names: "names" of
// its note.json, {"blk.0.attn_q.weight": "layers.0.self_attn.q_proj.weight"}. By those.
std::map<std::string, std::string> other_names(const fs::path& folder) {
  constexpr std::string_view kWeight = ".weight";
  std::map<std::string, std::string> names;
  const auto note = JsonConfig::open(folder / "note.json");
  if (!note || !note->contains("names")) return names;
  for (const auto& [stored, expected] : note->json().at("names").items()) {
    if (!expected.is_string()) continue;
    const std::string& name = expected.get_ref<const std::string&>();
    if (!name.ends_with(kWeight) || !stored.ends_with(kWeight)) continue;
    names[name.substr(0, name.size() - kWeight.size())] =
        stored.substr(0, stored.size() - kWeight.size());
  }
  return names;
}

std::vector<LinearCase> linear_cases(const SafetensorsFile& expected) {
  std::vector<LinearCase> cases;
  for (const TensorEntry& entry : expected.tensors()) {
    if (!entry.name.ends_with("/W")) continue;
    const std::string both = entry.name.substr(0, entry.name.size() - 2);
    const size_t cut = both.rfind('/');
    if (cut != std::string::npos) cases.push_back({both.substr(0, cut), both.substr(cut + 1)});
  }
  return cases;
}

// The checkpoint F of `folder`; a description of its own beside it replaces the folder's.
Expected<std::shared_ptr<const StoredWeights>> open_weights(const fs::path& folder,
                                                            const std::string& name) {
  std::error_code ignored;
  const fs::path file = folder / (name + ".safetensors"), own = folder / (name + ".json");
  if (fs::exists(file, ignored) && fs::exists(own, ignored)) {
    INTAGLIO_ASSIGN(const std::string text, read_file(own, kMaxDescriptionBytes));
    INTAGLIO_ASSIGN(std::shared_ptr<const SafetensorsFile> opened, SafetensorsFile::open(file));
    return StoredWeights::open(std::move(opened), text);
  }
  fs::path path = folder / name;
  for (const char* end : {".safetensors", ".gguf"})
    if (fs::exists(folder / (name + end), ignored)) path = folder / (name + end);
  INTAGLIO_ASSIGN(std::shared_ptr<const Checkpoint> checkpoint, Checkpoint::open(path));
  return StoredWeights::open(std::move(checkpoint));
}

// The tensor of expected.safetensors, of `rank` dimensions, as floats.
struct Numbers {
  Shape shape;
  std::vector<float> values;
};
Expected<Numbers> expected_numbers(const SafetensorsFile& file, const std::string& name) {
  const TensorEntry* const entry = file.find(name);
  if (entry == nullptr || !entry->foreign.empty() || entry->view.shape.rank != 2) {
    return make_error(ErrorCode::kBadFormat, "{}: {}: missing, or no matrix", file.path().string(),
                      name);
  }
  INTAGLIO_ASSIGN(std::vector<float> values, read_floats(*entry));
  return Numbers{entry->view.shape, std::move(values)};
}

Expected<std::vector<int32_t>> expected_rows(const SafetensorsFile& file, const std::string& name,
                                             int64_t count, int64_t n) {
  const TensorEntry* const entry = file.find(name);
  if (entry == nullptr || !has_type(*entry, DType::kI32) || entry->view.shape != Shape{count}) {
    return make_error(ErrorCode::kBadFormat, "{}: {}: missing, or not I32 [{}]",
                      file.path().string(), name, count);
  }
  std::vector<int32_t> rows(static_cast<size_t>(count));
  INTAGLIO_TRY(read_tensor_bytes(*entry, 0, std::as_writable_bytes(std::span(rows))));
  if (std::all_of(rows.begin(), rows.end(), [&](int32_t row) { return row >= 0 && row < n; }))
    return rows;
  return make_error(ErrorCode::kBadFormat, "{}: {}: rows beyond the {} there are",
                    file.path().string(), name, n);
}

// Largest differences over the largest number.
struct Errors {
  double weights = 0.0, products = 0.0;
};

double largest(const std::vector<float>& values) {
  double most = 0.0;
  for (const float value : values) most = std::max(most, std::fabs(static_cast<double>(value)));
  return most;
}

// A row of W, without what x is multiplied by before the product.
void read_row(const StoredLinear& linear, int64_t row, std::vector<float>& out) {
  dequantize_row(linear, row, out.data());
  if (linear.smooth.data == nullptr) return;
  for (size_t c = 0; c < out.size(); ++c) out[c] *= linear.smooth.as<float>()[c];
}

// `module`: what the checkpoint calls the linear.
Expected<Errors> compare(const SafetensorsFile& expected, const StoredWeights& weights,
                         const LinearCase& one, std::string_view module, const Context& context) {
  INTAGLIO_ASSIGN(const Numbers w, expected_numbers(expected, one.tensor("W")));
  INTAGLIO_ASSIGN(const Numbers y, expected_numbers(expected, one.tensor("y")));
  const int64_t n = y.shape[1], k = w.shape[1];
  INTAGLIO_ASSIGN(const Numbers x, expected_numbers(expected, fmt::format("x/{}", k)));
  INTAGLIO_ASSIGN(const std::vector<int32_t> rows,
                  expected_rows(expected, one.tensor("rows"), w.shape[0], n));
  const LinearEntry* const entry = weights.find_linear(module);
  if (y.shape[0] != kInputRows || x.shape != Shape{kInputRows, k} ||
      (entry != nullptr && !entry->holds({n, k}))) {
    return make_error(ErrorCode::kShapeMismatch, "{}: another size than [{}, {}]", one.linear, n,
                      k);
  }
  INTAGLIO_ASSIGN(const LoadedLinear loaded, weights.linear(module, &context, {0, n, k}));
  Errors errors;
  std::vector<float> row(static_cast<size_t>(k));
  for (size_t i = 0; i < rows.size(); ++i) {
    read_row(loaded.linear, rows[i], row);
    for (size_t c = 0; c < row.size(); ++c) {
      const double difference = static_cast<double>(row[c]) - w.values[i * row.size() + c];
      errors.weights = std::max(errors.weights, std::fabs(difference));
    }
  }
  for (int64_t r = 0; r < n; ++r) {
    read_row(loaded.linear, r, row);
    for (int64_t m = 0; m < kInputRows; ++m) {
      double sum = 0.0;
      for (size_t c = 0; c < row.size(); ++c)
        sum += static_cast<double>(x.values[static_cast<size_t>(m) * row.size() + c]) * row[c];
      errors.products =
          std::max(errors.products, std::fabs(sum - y.values[static_cast<size_t>(m * n + r)]));
    }
  }
  errors.weights /= std::max(largest(w.values), 1e-30);
  errors.products /= std::max(largest(y.values), 1e-30);
  return errors;
}

class FormatVerifier {
 public:
  FormatVerifier(const VerifyOptions& options,
                 const std::function<void(const VerifyResult&)>& report)
      : options_(options),
        report_(report),
        context_{.threads = std::max(options.threads, 1), .cancel = options.cancel} {}

  Status run_folder(const fs::path& folder) {
    INTAGLIO_ASSIGN(const auto expected, SafetensorsFile::open(folder / kExpected));
    const std::map<std::string, std::string> others = other_names(folder);
    std::map<std::string, Expected<std::shared_ptr<const StoredWeights>>> opened;
    for (const LinearCase& one : linear_cases(*expected)) {
      INTAGLIO_TRY(check_cancelled(context_));
      auto found = opened.find(one.file);
      if (found == opened.end())
        found = opened.emplace(one.file, open_weights(folder, one.file)).first;
      const std::string name =
          fmt::format("{}/{} {}", folder.filename().string(), one.file, one.linear);
      const auto other = others.find(one.linear);
      const std::string_view module = other != others.end() ? std::string_view(other->second)
                                                            : without_model_prefix(one.linear);
      const Expected<Errors> errors =
          found->second ? compare(*expected, **found->second, one, module, context_)
                        : tl::unexpected<Error>(found->second.error());
      add("weights", name, errors, &Errors::weights, kWeightTolerance);
      add("products", name, errors, &Errors::products, kProductTolerance);
    }
    return {};
  }

  std::vector<VerifyResult> take() { return std::move(results_); }

 private:
  void add(const char* stage, const std::string& name, const Expected<Errors>& errors,
           double Errors::*which, double tolerance) {
    VerifyResult result{.stage = stage, .name = name, .tolerance = tolerance};
    if (errors) {
      result.error = (*errors).*which;
      result.verdict = result.error <= tolerance ? Verdict::kPass : Verdict::kFail;
    } else {
      result.detail = errors.error().message;
    }
    results_.push_back(result);
    report_(result);
  }

  VerifyOptions options_;
  const std::function<void(const VerifyResult&)>& report_;
  Context context_;
  std::vector<VerifyResult> results_;
};

std::vector<fs::path> format_folders(const fs::path& folder) {
  std::error_code ignored;
  if (fs::exists(folder / kExpected, ignored)) return {folder};
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored))
    if (fs::exists(entry.path() / kExpected, ignored)) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

bool has_format_cases(const fs::path& folder) { return !format_folders(folder).empty(); }

Expected<std::vector<VerifyResult>> verify_formats(
    const fs::path& folder, const VerifyOptions& options,
    const std::function<void(const VerifyResult&)>& report) {
  FormatVerifier verifier(options, report);
  for (const fs::path& one : format_folders(fs::absolute(folder).lexically_normal()))
    INTAGLIO_TRY(verifier.run_folder(one));
  return verifier.take();
}

}  // namespace intaglio
