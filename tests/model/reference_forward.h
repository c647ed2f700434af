#ifndef OLMOE_TESTS_MODEL_REFERENCE_FORWARD_H_
#define OLMOE_TESTS_MODEL_REFERENCE_FORWARD_H_

#include <map>
#include <string>
#include <vector>

#include "server/model/config.h"
#include "server/util/token_id.h"

namespace olmoe::model {

// The forward pass in double, written down from the description of the model with plain
// loops and no cache: slow and obvious. Only tests link it.
class ReferenceForward {
 public:
  // Reads the weights of a checkpoint; CHECK-fails where that does not work.
  explicit ReferenceForward(const std::string& folder);

  const OlmoeConfig& config() const { return config_; }
  // [T][V], with the model's own top-k.
  std::vector<std::vector<double>> Logits(const std::vector<TokenId>& tokens) const;

 private:
  using Row = std::vector<double>;
  using Rows = std::vector<Row>;

  const std::vector<float>& Weight(const std::string& name) const;
  // x W^T (+ b) for `prefix`.weight and, where the model has biases, `prefix`.bias.
  Row Project(const Row& x, const std::string& prefix) const;
  Row Norm(const Row& x, const std::string& name) const;
  void Rotate(int position, Row* heads) const;
  Rows Attention(int layer, const Rows& x) const;
  Row Experts(int layer, const Row& x) const;

  OlmoeConfig config_;
  std::map<std::string, std::vector<float>> weights_;
};

}  // namespace olmoe::model

#endif  // OLMOE_TESTS_MODEL_REFERENCE_FORWARD_H_
