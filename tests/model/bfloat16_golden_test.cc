// bfloat16 on the CPU: no worse than Hugging Face's own bfloat16 run, by the limits in
// the README of tests/data/golden ("A bfloat16 engine").
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "tests/model/golden.h"
#include "tests/model/kernel_names.h"
#include "tests/model/sequence_runner.h"
#include "tests/support/test_data.h"

namespace olmoe::model {
namespace {

struct Limits {
  const char* model;
  double mean_logit;           // mean abs logit difference
  double median_row_max;       // median over rows of the row's max abs logit difference
  double mean_nll;             // abs difference over all sequences
  double mean_nll_of_one;      // of one sequence of 17 tokens or more
  double max_logit_all_experts;  // k = E
};

constexpr Limits kLimits[] = {{"standard", 0.209, 0.70, 0.071, 0.11, 0.72},
                              {"sharded", 0.070, 0.16, 0.020, 0.10, 0.47}};

void PrintTo(const Limits& limits, std::ostream* out) { *out << limits.model; }

// Differences to the float32 run of the golden file, over all sequences.
struct Differences {
  double mean_logit = 0, max_logit = 0;
  std::vector<double> row_max;
  double mean_nll = 0, mean_nll_of_one = 0;
};

class BFloat16GoldenTest : public ::testing::TestWithParam<std::tuple<Limits, std::string>> {
 protected:
  const Limits& limits() const { return std::get<0>(GetParam()); }

  void SetUp() override {
    OLMOE_REQUIRE_DATA(folder, absl::StrCat("golden/", limits().model));
    golden_ = std::make_unique<Golden>(folder);
    LoadOptions options;
    options.dir = golden_->folder();
    options.dtype = DType::kBFloat16;
    options.threads = 1;
    options.cpu_isa = std::get<1>(GetParam());
    runner_ = std::make_unique<SequenceRunner>(options);
  }

  void AddLogits(const std::string& key, const SequenceResult& result, Differences* differences) {
    if (!golden_->Has(key + ".logits")) return;
    const std::vector<float> golden = golden_->Floats(key + ".logits");
    const size_t vocabulary = static_cast<size_t>(runner_->info().vocab_size);
    for (size_t i = 0; i < golden.size(); ++i) {
      const double difference = std::abs(golden[i] - result.logits[i]);
      if (i % vocabulary == 0) differences->row_max.push_back(0);
      differences->row_max.back() = std::max(differences->row_max.back(), difference);
      differences->max_logit = std::max(differences->max_logit, difference);
      differences->mean_logit += difference;
      ++num_logits_;
    }
  }

  Differences Measure(const std::string& run) {
    Differences differences;
    num_logits_ = 0;
    double nll = 0;
    size_t rows = 0;
    const nlohmann::json& golden = golden_->json().at("runs").at(run);
    const auto policy = golden_->Policy(run, runner_->info().router_shape());
    for (const std::string& name : golden_->sequence_names()) {
      const SequenceResult result = runner_->Run({golden_->sequence(name)}, *policy)[0];
      AddLogits(absl::StrCat(name, ".", run), result, &differences);
      double sum = 0;
      for (const float logprob : result.next_logprobs) sum -= logprob;
      nll += sum;
      rows += result.next_logprobs.size();
      if (result.next_logprobs.size() + 1 < 17) continue;
      const double mean = sum / static_cast<double>(result.next_logprobs.size());
      const double expected = golden.at("mean_nll_per_sequence").at(name);
      differences.mean_nll_of_one =
          std::max(differences.mean_nll_of_one, std::abs(mean - expected));
    }
    differences.mean_nll =
        std::abs(nll / static_cast<double>(rows) - golden.at("mean_nll").get<double>());
    differences.mean_logit /= static_cast<double>(num_logits_);
    return differences;
  }

  std::unique_ptr<Golden> golden_;
  std::unique_ptr<SequenceRunner> runner_;
  size_t num_logits_ = 0;
};

TEST_P(BFloat16GoldenTest, DefaultRoutingIsNoWorseThanTheReferenceInBFloat16) {
  Differences found = Measure(golden_->default_run());
  ASSERT_GT(found.row_max.size(), 100u);
  std::sort(found.row_max.begin(), found.row_max.end());
  const double median = found.row_max[found.row_max.size() / 2];
  EXPECT_LT(found.mean_logit, limits().mean_logit);
  EXPECT_LT(median, limits().median_row_max);
  EXPECT_LT(found.mean_nll, limits().mean_nll);
  EXPECT_LT(found.mean_nll_of_one, limits().mean_nll_of_one);
  EXPECT_GT(found.mean_logit, 1e-3) << "this was not computed in bfloat16";
  RecordProperty("mean_logit", std::to_string(found.mean_logit));
  RecordProperty("median_row_max", std::to_string(median));
  RecordProperty("mean_nll", std::to_string(found.mean_nll));
  RecordProperty("mean_nll_of_one", std::to_string(found.mean_nll_of_one));
}

TEST_P(BFloat16GoldenTest, WithAllExpertsOnlyRoundingRemains) {
  const std::string run = absl::StrCat("k", runner_->info().num_experts);
  const Differences found = Measure(run);
  EXPECT_LT(found.max_logit, limits().max_logit_all_experts);
  RecordProperty("max_logit", std::to_string(found.max_logit));
}

INSTANTIATE_TEST_SUITE_P(, BFloat16GoldenTest,
                         ::testing::Combine(::testing::ValuesIn(kLimits),
                                            ::testing::ValuesIn(KernelNames())),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param).model, "_",
                                               TestName(std::get<1>(info.param)));
                         });

}  // namespace
}  // namespace olmoe::model
