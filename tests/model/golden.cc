#include "tests/model/golden.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/routing/calibration.h"
#include "tests/support/test_data.h"

namespace olmoe::model {
namespace {

// Below it, rounding may decide which experts a row gets (README, "Tolerances").
constexpr double kUncertainMargin = 2e-5;

routing::Rule TopKRule(uint32_t k, routing::WeightMode mode) { return {routing::TopK{k}, mode}; }

routing::PolicySpec PerLayerSpec(int num_layers) {
  routing::PolicySpec spec;
  for (uint32_t layer = 0; layer < static_cast<uint32_t>(num_layers); ++layer) {
    routing::LayerOverride override;
    override.layers = {layer};
    override.apply = TopKRule(1 + layer % 8, routing::WeightMode::kModelDefault);
    spec.layer_overrides.push_back(override);
  }
  return spec;
}

}  // namespace

std::shared_ptr<const routing::Calibration> ReadGoldenCalibration(const std::string& folder) {
  const nlohmann::json json =
      nlohmann::json::parse(testing::ReadFileOrDie(folder + "/calibration.json"));
  routing::Calibration::Options options;
  options.calibration_id = "golden";
  int layer = 0;
  for (const nlohmann::json& table : json.at("layers")) {
    options.tables.emplace(layer++,
                           routing::CdfTable::FromCdf(table.at("x0"), table.at("dx"),
                                                      table.at("cdf").get<std::vector<double>>()));
  }
  auto calibration = routing::Calibration::Create(std::move(options));
  CHECK(calibration.ok()) << calibration.status();
  return *calibration;
}

Golden::Golden(const std::string& folder, const std::string& stem) : folder_(folder) {
  json_ = nlohmann::json::parse(testing::ReadFileOrDie(absl::StrCat(folder, "/", stem, ".json")));
  auto file = SafetensorsFile::Open(absl::StrCat(folder, "/", stem, ".safetensors"));
  CHECK(file.ok()) << file.status();
  file_ = *std::move(file);
}

std::vector<std::string> Golden::sequence_names() const {
  std::vector<std::string> names;
  for (const auto& [name, unused] : json_.at("sequences").items()) names.push_back(name);
  return names;
}

std::vector<TokenId> Golden::sequence(const std::string& name) const {
  return json_.at("sequences").at(name).at("ids").get<std::vector<TokenId>>();
}

std::vector<std::string> Golden::run_names() const {
  std::vector<std::string> names;
  for (const int k : json_.at("k_list")) names.push_back(absl::StrCat("k", k));
  for (const auto& [name, unused] : json_.at("variants").items()) names.push_back(name);
  return names;
}

std::string Golden::default_run() const {
  return absl::StrCat("k", json_.at("default_k").get<int>());
}

std::string Golden::Bytes(const std::string& tensor, DType* dtype) const {
  const SafetensorsEntry* entry = file_->Find(tensor);
  CHECK(entry != nullptr) << tensor;
  std::string bytes(entry->bytes, '\0');
  CHECK(file_->reader()
            .ReadAt(entry->offset, std::as_writable_bytes(std::span(bytes.data(), bytes.size())))
            .ok());
  *dtype = entry->dtype;
  return bytes;
}

std::vector<int64_t> Golden::Shape(const std::string& tensor) const {
  const SafetensorsEntry* entry = file_->Find(tensor);
  CHECK(entry != nullptr) << tensor;
  return entry->shape;
}

std::vector<float> Golden::Floats(const std::string& tensor) const {
  DType dtype;
  const std::string bytes = Bytes(tensor, &dtype);
  CHECK(dtype == DType::kFloat32) << tensor;
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

std::vector<int> Golden::Ints(const std::string& tensor) const {
  DType dtype;
  const std::string bytes = Bytes(tensor, &dtype);
  if (dtype == DType::kInt32) {
    std::vector<int> values(bytes.size() / sizeof(int));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
  CHECK(dtype == DType::kUint8) << tensor;
  std::vector<int> values;
  for (const char byte : bytes) values.push_back(static_cast<unsigned char>(byte));
  return values;
}

std::shared_ptr<const routing::RoutingPolicy> Golden::Policy(
    const std::string& run, const routing::RouterShape& shape) const {
  routing::PolicySpec spec;
  const bool variant = json_.at("variants").contains(run);
  const nlohmann::json rule = variant ? json_.at("variants").at(run) : nlohmann::json();
  if (!variant) {
    spec.apply = TopKRule(static_cast<uint32_t>(std::stoi(run.substr(1))),
                          routing::WeightMode::kModelDefault);
  } else if (run == "per_layer_k") {
    spec = PerLayerSpec(shape.num_layers);
  } else if (rule.at("rule") == "top-k") {
    spec.apply = TopKRule(rule.at("k"), routing::WeightMode::kSumToOne);
  } else if (rule.at("rule") == "top-p") {
    spec.apply = routing::Rule{routing::TopP{rule.at("p"), {rule.at("min_k"), rule.at("max_k")}},
                               routing::WeightMode::kNative};
  } else {
    CHECK_EQ(rule.at("rule"), "bh");
    routing::BenjaminiHochberg bh;
    bh.alpha = rule.at("alpha");
    bh.bounds.min_k = rule.at("min_k");
    bh.bounds.max_k = rule.at("max_k");
    bh.p_values.calibration_id = "golden";
    spec.apply = routing::Rule{bh, routing::WeightMode::kNative};
  }
  spec.policy_id = "golden";
  routing::CalibrationSet calibrations;
  CHECK(calibrations.Add(ReadGoldenCalibration(folder_)).ok());
  auto policy = routing::RoutingPolicy::Create(spec, shape, &calibrations, "policy");
  CHECK(policy.ok()) << policy.status();
  return *policy;
}

int Golden::CertainTokens(const std::string& run, const std::string& name) const {
  int tokens = static_cast<int>(sequence(name).size());
  for (const nlohmann::json& tie : json_.at("ties").at("near_ties_below_5e-5")) {
    if (tie[0] == run && tie[1] == name && tie[4].get<double>() < kUncertainMargin) {
      tokens = std::min(tokens, tie[3].get<int>());
    }
  }
  return tokens;
}

}  // namespace olmoe::model
