// The formulas of transformer.h and of parts/gated_block.h in float64, one row after the other:
// what the test believes.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "models/parts/weights.h"
#include "skeleton/model/config.h"

namespace intaglio::skeleton_model {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

inline Rows rows_of(const std::vector<float>& values, int64_t columns) {
  Rows rows;
  for (auto i = values.begin(); i != values.end(); i += columns) rows.emplace_back(i, i + columns);
  return rows;
}

inline double silu(double x) { return x / (1.0 + std::exp(-x)); }

class Reference {
 public:
  // With the weights of `source`, which holds `shapes`.
  Reference(const TransformerConfig& config, TensorSource& source, const TensorShapes& shapes)
      : c_(config) {
    for (const auto& [name, shape] : shapes) {
      std::vector<float> values(static_cast<size_t>(shape.count()));
      const Tensor tensor = source.tensor(name, shape).value();
      convert_to_f32(tensor.view.data, tensor.view.dtype, values.data(), values.size());
      weights_[name] = Row(values.begin(), values.end());
    }
  }

  std::vector<float> velocity(const Rows& latents, const Rows& features, int64_t grid_w,
                              double time) const {
    Rows h, place;
    for (size_t i = 0; i < latents.size(); ++i) {
      h.push_back(linear("image_in", latents[i]));
      place.push_back({static_cast<double>(i / static_cast<size_t>(grid_w)),
                       static_cast<double>(i % static_cast<size_t>(grid_w))});
    }
    for (const Row& token : features) {
      h.push_back(linear("text_in", token));
      place.push_back({0.0, 0.0});
    }
    const Row modulation = modulation_at(time);
    for (int64_t i = 0; i < c_.layers; ++i)
      block("layers." + std::to_string(i) + ".", modulation, place, h);
    std::vector<float> velocity;
    for (size_t i = 0; i < latents.size(); ++i) {
      const Row out = linear("final", layer_norm(h[i]));
      velocity.insert(velocity.end(), out.begin(), out.end());
    }
    return velocity;
  }

 private:
  Row linear(const std::string& name, const Row& x) const {
    const Row& w = weights_.at(name + ".weight");
    const auto bias = weights_.find(name + ".bias");
    Row y(w.size() / x.size());
    for (size_t n = 0; n < y.size(); ++n) {
      y[n] = bias == weights_.end() ? 0.0 : bias->second[n];
      for (size_t k = 0; k < x.size(); ++k) y[n] += w[n * x.size() + k] * x[k];
    }
    return y;
  }

  Row rms_norm(const std::string& name, Row x) const {
    double squares = 0.0;
    for (const double v : x) squares += v * v;
    const double scale =
        1.0 / std::sqrt(squares / static_cast<double>(x.size()) + static_cast<double>(c_.norm_eps));
    const Row& weight = weights_.at(name + ".weight");
    for (size_t i = 0; i < x.size(); ++i) x[i] *= scale * weight[i];
    return x;
  }

  Row layer_norm(Row x) const {
    const auto count = static_cast<double>(x.size());
    double mean = 0.0, squares = 0.0;
    for (const double v : x) mean += v / count;
    for (const double v : x) squares += (v - mean) * (v - mean) / count;
    for (double& v : x) v = (v - mean) / std::sqrt(squares + static_cast<double>(c_.norm_eps));
    return x;
  }

  Row modulation_at(double time) const {
    const auto half = static_cast<size_t>(c_.width() / 2);
    Row x(2 * half);
    for (size_t j = 0; j < half; ++j) {
      const double angle = 1000.0 * time * std::pow(1e4, -static_cast<double>(j) / double(half));
      x[j] = std::cos(angle);
      x[half + j] = std::sin(angle);
    }
    Row y = linear("time_in", x);
    for (double& v : y) v = silu(v);
    return linear("modulation", y);
  }

  // The head at `offset` of a row of q or k, normed and turned: the first half of its angles by y,
  // the second by x, channel j with channel j + head_dim / 2.
  void turn(const std::string& norm, const Row& place, size_t offset, Row& row) const {
    const auto dim = static_cast<size_t>(c_.head_dim);
    const auto begin = row.begin() + static_cast<ptrdiff_t>(offset);
    const Row x = rms_norm(norm, Row(begin, begin + c_.head_dim));
    for (size_t j = 0; j < dim / 2; ++j) {
      const double of_axis = static_cast<double>(j % (dim / 4)) / (static_cast<double>(dim) / 4.0);
      const double angle = place[j / (dim / 4)] * std::pow(c_.rope_theta, -of_axis);
      const double a = x[j], b = x[j + dim / 2];
      row[offset + j] = a * std::cos(angle) - b * std::sin(angle);
      row[offset + j + dim / 2] = b * std::cos(angle) + a * std::sin(angle);
    }
  }

  Rows attention(const Rows& q, const Rows& k, const Rows& v) const {
    const auto dim = static_cast<size_t>(c_.head_dim);
    Rows out(q.size(), Row(q.front().size()));
    for (size_t t = 0; t < q.size(); ++t) {
      for (size_t head = 0; head < q[t].size(); head += dim) {
        double sum = 0.0;
        for (size_t s = 0; s < k.size(); ++s) {
          double score = 0.0;
          for (size_t i = head; i < head + dim; ++i) score += q[t][i] * k[s][i];
          const double weight = std::exp(score / std::sqrt(static_cast<double>(dim)));
          sum += weight;
          for (size_t i = head; i < head + dim; ++i) out[t][i] += weight * v[s][i];
        }
        for (size_t i = head; i < head + dim; ++i) out[t][i] /= sum;
      }
    }
    return out;
  }

  // m: scale1, gate1, scale2, gate2.
  Row scaled(Row x, const Row& m, size_t part) const {
    for (size_t i = 0; i < x.size(); ++i) x[i] *= 1.0 + m[part * x.size() + i];
    return x;
  }
  void add_gated(const Row& y, const Row& m, size_t part, Row& h) const {
    for (size_t i = 0; i < h.size(); ++i) h[i] += m[part * h.size() + i] * y[i];
  }

  void block(const std::string& prefix, const Row& m, const Rows& place, Rows& h) const {
    Rows q, k, v;
    for (size_t t = 0; t < h.size(); ++t) {
      const Row u = scaled(rms_norm(prefix + "attention_norm1", h[t]), m, 0);
      q.push_back(linear(prefix + "attention.to_q", u));
      k.push_back(linear(prefix + "attention.to_k", u));
      v.push_back(linear(prefix + "attention.to_v", u));
      for (int64_t head = 0; head < c_.heads; ++head) {
        const auto offset = static_cast<size_t>(head * c_.head_dim);
        turn(prefix + "attention.norm_q", place[t], offset, q[t]);
        turn(prefix + "attention.norm_k", place[t], offset, k[t]);
      }
    }
    const Rows attended = attention(q, k, v);
    for (size_t t = 0; t < h.size(); ++t) {
      const Row y = linear(prefix + "attention.to_out.0", attended[t]);
      add_gated(rms_norm(prefix + "attention_norm2", y), m, 1, h[t]);
      const Row u = scaled(rms_norm(prefix + "ffn_norm1", h[t]), m, 2);
      Row hidden = linear(prefix + "feed_forward.w1", u);
      const Row up = linear(prefix + "feed_forward.w3", u);
      for (size_t i = 0; i < hidden.size(); ++i) hidden[i] = silu(hidden[i]) * up[i];
      add_gated(rms_norm(prefix + "ffn_norm2", linear(prefix + "feed_forward.w2", hidden)), m, 3,
                h[t]);
    }
  }

  TransformerConfig c_;
  std::map<std::string, Row> weights_;
};

}  // namespace intaglio::skeleton_model
