#include <algorithm>
#include <cmath>

#include "io/formats/add_rows.h"
#include "io/formats/lora.h"

namespace intaglio {

void AdapterNumbers::add_delta(Form form, int64_t row, float scale, float* out, float* work) const {
  const int64_t k = shape_.k;
  switch (form) {
    case Form::kLowRank:
      return add_rows(up_.data() + row * shape_.rank, down_.data(), shape_.rank, k, scale, out);
    case Form::kLoha: {
      std::fill_n(work, 2 * k, 0.0f);
      for (size_t i = 0; i < 2; ++i) {
        const int64_t rank = hada_ranks_[i];
        add_rows(hada_[2 * i].data() + row * rank, hada_[2 * i + 1].data(), rank, k, 1.0f,
                 work + static_cast<int64_t>(i) * k);
      }
      for (int64_t c = 0; c < k; ++c) out[c] += scale * work[c] * work[k + c];
      return;
    }
    case Form::kLokr: {
      const int64_t blocks = k / lokr_k2_;
      const float* const outer = lokr1_.data() + row / lokr_n2_ * blocks;
      const float* const inner = lokr2_.data() + row % lokr_n2_ * lokr_k2_;
      for (int64_t b = 0; b < blocks; ++b)
        for (int64_t c = 0; c < lokr_k2_; ++c) out[b * lokr_k2_ + c] += scale * outer[b] * inner[c];
      return;
    }
    case Form::kDiff:
      for (int64_t c = 0; c < k; ++c) out[c] += scale * diff_[static_cast<size_t>(row * k + c)];
      return;
  }
}

void AdapterNumbers::merge_row(int64_t row, float strength, float* w, float* work) const {
  const auto factor_of = [&](Form form) { return form == Form::kDiff ? 1.0f : factor_; };
  if (dora_.empty()) {
    for (const Form form : forms_) add_delta(form, row, strength * factor_of(form), w, work);
    return;
  }
  const int64_t k = shape_.k;
  float* const v = work + 2 * k;
  std::copy_n(w, k, v);
  for (const Form form : forms_) add_delta(form, row, factor_of(form), v, work);
  const float* const of = dora_of_sum_ ? v : w;
  double squares = 0.0;
  for (int64_t c = 0; c < k; ++c)
    squares += static_cast<double>(of[c]) * static_cast<double>(of[c]);
  // Of ComfyUI's code, so that no row divides by 0; PEFT's has nothing, and a row of zeros stays.
  constexpr double kNormEps = 1.2e-7;
  const double norm = std::sqrt(squares) + (dora_of_sum_ ? 0.0 : kNormEps);
  const auto magnitude = static_cast<double>(dora_[static_cast<size_t>(row)]);
  const auto ratio = static_cast<float>(norm > 0.0 ? magnitude / norm : 0.0);
  for (int64_t c = 0; c < k; ++c) w[c] += strength * (v[c] * ratio - w[c]);
}

}  // namespace intaglio
