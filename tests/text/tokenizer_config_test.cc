#include "server/text/tokenizer_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "nlohmann/json.hpp"
#include "server/text/tokenizer.h"
#include "tests/support/temp_folder.h"
#include "tests/text/tiny_tokenizer.h"

namespace olmoe::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kEndOfText;
using testing::TinyId;
using Json = nlohmann::json;

class TokenizerConfigTest : public ::testing::Test {
 protected:
  // Whose template is the document start.
  void SetUp() override { folder_.Write("tokenizer.json", testing::TinyTokenizerJson().dump()); }

  absl::StatusOr<std::unique_ptr<Tokenizer>> With(const std::string& config) {
    folder_.Write("tokenizer_config.json", config);
    return Tokenizer::FromFolder(folder_.path());
  }

  static std::vector<TokenId> Ids(const Tokenizer& tokenizer) {
    return tokenizer.Encode("the", {.add_special_tokens = true})->ids;
  }

  olmoe::testing::TempFolder folder_;
};

TEST_F(TokenizerConfigTest, WithoutTheFileTheTemplateStays) {
  const auto tokenizer = Tokenizer::FromFolder(folder_.path());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_THAT(Ids(**tokenizer), ElementsAre(kEndOfText, TinyId("the")));
  EXPECT_THAT((*tokenizer)->notes(), IsEmpty());
}

// tests/e2e/test_tokenizer_files.py compares with AutoTokenizer itself.
TEST_F(TokenizerConfigTest, TheClassDecidesAboutTheTemplate) {
  for (const char* config :
       {"{}", R"({"add_bos_token": false})", R"({"tokenizer_class": "GPTNeoXTokenizer"})",
        R"({"tokenizer_class": "GPTNeoXTokenizerFast", "add_bos_token": true})"}) {
    const auto tokenizer = With(config);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_THAT(Ids(**tokenizer), ElementsAre(TinyId("the"))) << config;
    EXPECT_THAT((*tokenizer)->notes(), ElementsAre(HasSubstr("no special tokens are added")));
  }
  for (const char* config :
       {R"({"tokenizer_class": "PreTrainedTokenizerFast"})",
        R"({"tokenizer_class": "TokenizersBackend", "add_bos_token": false})"}) {
    const auto tokenizer = With(config);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    EXPECT_THAT(Ids(**tokenizer), ElementsAre(kEndOfText, TinyId("the"))) << config;
    EXPECT_THAT((*tokenizer)->notes(), IsEmpty());
  }
}

TEST_F(TokenizerConfigTest, AMalformedFileIsNamed) {
  for (const char* config :
       {"", "[]", "{", R"({"add_eos_token": "yes"})", R"({"tokenizer_class": 1})"}) {
    const absl::Status status = With(config).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << config;
    EXPECT_THAT(std::string(status.message()), HasSubstr("tokenizer_config.json: "));
  }
}

}  // namespace
}  // namespace olmoe::text
