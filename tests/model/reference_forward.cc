#include "tests/model/reference_forward.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/model/checkpoint.h"

namespace olmoe::model {
namespace {

std::string LayerName(int layer, const char* rest) {
  return absl::StrCat("model.layers.", layer, ".", rest);
}

std::vector<double> Softmax(const std::vector<double>& logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  std::vector<double> result;
  for (const double logit : logits) result.push_back(std::exp(logit - largest));
  const double sum = std::accumulate(result.begin(), result.end(), 0.0);
  for (double& value : result) value /= sum;
  return result;
}

}  // namespace

ReferenceForward::ReferenceForward(const std::string& folder) {
  auto checkpoint = Checkpoint::Open(folder);
  CHECK(checkpoint.ok()) << checkpoint.status();
  config_ = (*checkpoint)->config();
  const absl::Status status = (*checkpoint)->Load([&](const TensorInfo& tensor) {
    size_t elements = 1;
    for (const int64_t dimension : tensor.shape) elements *= static_cast<size_t>(dimension);
    std::vector<float>& values = weights_[tensor.name];
    values.resize(elements);
    return Target{values.data(), DType::kFloat32};
  });
  CHECK(status.ok()) << status;
}

const std::vector<float>& ReferenceForward::Weight(const std::string& name) const {
  const auto it = weights_.find(name);
  CHECK(it != weights_.end()) << name;
  return it->second;
}

ReferenceForward::Row ReferenceForward::Project(const Row& x, const std::string& prefix) const {
  const std::vector<float>& weight = Weight(prefix + ".weight");
  Row result(weight.size() / x.size());
  for (size_t out = 0; out < result.size(); ++out) {
    for (size_t in = 0; in < x.size(); ++in) result[out] += weight[out * x.size() + in] * x[in];
  }
  if (!weights_.contains(prefix + ".bias")) return result;
  for (size_t out = 0; out < result.size(); ++out) result[out] += Weight(prefix + ".bias")[out];
  return result;
}

ReferenceForward::Row ReferenceForward::Norm(const Row& x, const std::string& name) const {
  const std::vector<float>& weight = Weight(name);
  double mean_square = 0;
  for (const double value : x) mean_square += value * value / static_cast<double>(x.size());
  Row result;
  for (size_t i = 0; i < x.size(); ++i) {
    result.push_back(x[i] / std::sqrt(mean_square + config_.rms_norm_eps) * weight[i]);
  }
  return result;
}

void ReferenceForward::Rotate(int position, Row* heads) const {
  const size_t head_size = static_cast<size_t>(config_.head_size);
  const size_t half = head_size / 2;
  for (size_t head = 0; head < heads->size() / head_size; ++head) {
    for (size_t i = 0; i < half; ++i) {
      const double exponent = static_cast<double>(2 * i) / static_cast<double>(head_size);
      const double angle = position * std::pow(config_.rope_theta, -exponent);
      double& a = (*heads)[head * head_size + i];
      double& b = (*heads)[head * head_size + half + i];
      const double rotated = a * std::cos(angle) - b * std::sin(angle);
      b = b * std::cos(angle) + a * std::sin(angle);
      a = rotated;
    }
  }
}

ReferenceForward::Rows ReferenceForward::Attention(int layer, const Rows& x) const {
  const size_t head_size = static_cast<size_t>(config_.head_size);
  const size_t heads = static_cast<size_t>(config_.num_heads);
  const size_t group = heads / static_cast<size_t>(config_.num_kv_heads);
  Rows q, k, v, result;
  for (size_t t = 0; t < x.size(); ++t) {
    q.push_back(Norm(Project(x[t], LayerName(layer, "self_attn.q_proj")),
                     LayerName(layer, "self_attn.q_norm.weight")));
    k.push_back(Norm(Project(x[t], LayerName(layer, "self_attn.k_proj")),
                     LayerName(layer, "self_attn.k_norm.weight")));
    v.push_back(Project(x[t], LayerName(layer, "self_attn.v_proj")));
    if (config_.clip_qkv.has_value()) {
      for (Row* row : {&q[t], &k[t], &v[t]}) {
        for (double& value : *row) value = std::clamp(value, -*config_.clip_qkv, *config_.clip_qkv);
      }
    }
    Rotate(static_cast<int>(t), &q[t]);
    Rotate(static_cast<int>(t), &k[t]);
    Row mixed(heads * head_size);
    for (size_t head = 0; head < heads; ++head) {
      const size_t q_offset = head * head_size;
      const size_t kv_offset = head / group * head_size;
      Row logits;
      for (size_t past = 0; past <= t; ++past) {
        double dot = 0;
        for (size_t i = 0; i < head_size; ++i) dot += q[t][q_offset + i] * k[past][kv_offset + i];
        logits.push_back(dot / std::sqrt(static_cast<double>(head_size)));
      }
      const Row weights = Softmax(logits);
      for (size_t past = 0; past <= t; ++past) {
        for (size_t i = 0; i < head_size; ++i) {
          mixed[q_offset + i] += weights[past] * v[past][kv_offset + i];
        }
      }
    }
    result.push_back(Project(mixed, LayerName(layer, "self_attn.o_proj")));
  }
  return result;
}

ReferenceForward::Row ReferenceForward::Experts(int layer, const Row& x) const {
  const Row probabilities = Softmax(Project(x, LayerName(layer, "mlp.gate")));
  std::vector<size_t> order(probabilities.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return probabilities[a] > probabilities[b]; });
  order.resize(static_cast<size_t>(config_.experts_per_token));
  double sum = 0;
  for (const size_t expert : order) sum += probabilities[expert];
  Row result(x.size());
  for (const size_t expert : order) {
    const std::string prefix = LayerName(layer, "mlp.experts.") + absl::StrCat(expert, ".");
    const Row gate = Project(x, prefix + "gate_proj");
    Row activated = Project(x, prefix + "up_proj");
    for (size_t i = 0; i < gate.size(); ++i) activated[i] *= gate[i] / (1 + std::exp(-gate[i]));
    const Row down = Project(activated, prefix + "down_proj");
    const double weight = probabilities[expert] / (config_.norm_topk_prob ? sum : 1);
    for (size_t i = 0; i < down.size(); ++i) result[i] += weight * down[i];
  }
  return result;
}

std::vector<std::vector<double>> ReferenceForward::Logits(
    const std::vector<TokenId>& tokens) const {
  const size_t hidden = static_cast<size_t>(config_.hidden_size);
  const std::vector<float>& embedding = Weight("model.embed_tokens.weight");
  Rows x;
  for (const TokenId token : tokens) {
    const auto begin =
        embedding.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(token) * hidden);
    x.emplace_back(begin, begin + static_cast<ptrdiff_t>(hidden));
  }
  for (int layer = 0; layer < config_.num_layers; ++layer) {
    Rows normed;
    for (const Row& row : x)
      normed.push_back(Norm(row, LayerName(layer, "input_layernorm.weight")));
    const Rows attended = Attention(layer, normed);
    for (size_t t = 0; t < x.size(); ++t) {
      for (size_t i = 0; i < hidden; ++i) x[t][i] += attended[t][i];
      const Row experts =
          Experts(layer, Norm(x[t], LayerName(layer, "post_attention_layernorm.weight")));
      for (size_t i = 0; i < hidden; ++i) x[t][i] += experts[i];
    }
  }
  Rows logits;
  const std::string head = config_.tie_word_embeddings ? "model.embed_tokens" : "lm_head";
  for (const Row& row : x) logits.push_back(Project(Norm(row, "model.norm.weight"), head));
  return logits;
}

}  // namespace olmoe::model
