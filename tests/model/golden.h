// The reference numbers in tests/data/golden: its README says what they are and
// how far an engine may be from them.
#ifndef OLMOE_TESTS_MODEL_GOLDEN_H_
#define OLMOE_TESTS_MODEL_GOLDEN_H_

#include <memory>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "server/routing/policy.h"
#include "server/util/safetensors.h"
#include "server/util/token_id.h"

namespace olmoe::model {

std::shared_ptr<const routing::Calibration> ReadGoldenCalibration(const std::string& folder);

// One model's golden.json and golden.safetensors, or the two files `stem` of another set of
// numbers. What is not there CHECK-fails.
class Golden {
 public:
  explicit Golden(const std::string& folder, const std::string& stem = "golden");

  const std::string& folder() const { return folder_; }
  const nlohmann::json& json() const { return json_; }
  std::vector<std::string> sequence_names() const;
  std::vector<TokenId> sequence(const std::string& name) const;
  // "k8", "renorm_k16", "bh_0.3": fixed k and variants.
  std::vector<std::string> run_names() const;
  std::string default_run() const;

  bool Has(const std::string& tensor) const { return file_->Find(tensor) != nullptr; }
  std::vector<int64_t> Shape(const std::string& tensor) const;
  std::vector<float> Floats(const std::string& tensor) const;  // F32
  std::vector<int> Ints(const std::string& tensor) const;      // U8, I32

  // The policy of a run; `shape` must be that of the model.
  std::shared_ptr<const routing::RoutingPolicy> Policy(const std::string& run,
                                                       const routing::RouterShape& shape) const;

  // Tokens of a sequence before the first one with a decision so near that a correct
  // engine may take the other side.
  int CertainTokens(const std::string& run, const std::string& sequence) const;

 private:
  std::string Bytes(const std::string& tensor, DType* dtype) const;

  const std::string folder_;
  nlohmann::json json_;
  std::unique_ptr<SafetensorsFile> file_;
};

}  // namespace olmoe::model

#endif  // OLMOE_TESTS_MODEL_GOLDEN_H_
