#include <httplib.h>

#include <memory>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "server/http/http_server.h"
#include "server/http/live_assets.h"
#include "tests/http/live_fixture.h"

namespace olmoe::http {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class LivePageTest : public LiveTest {
 protected:
  LivePageTest()
      : server_(HttpServer::Create({.metrics = &metrics_,
                                    .ready = [] { return true; },
                                    .live = live_.get()})
                    .value()),
        client_("127.0.0.1", server_->port()) {}

  const std::unique_ptr<HttpServer> server_;
  httplib::Client client_;
};

TEST_F(LivePageTest, ThePageAndAllItNamesIsThere) {
  const auto page = client_.Get("/");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->status, 200);
  EXPECT_EQ(page->get_header_value("Content-Type"), "text/html; charset=utf-8");
  EXPECT_THAT(page->body, HasSubstr("<title>OLMoE live</title>"));
  std::set<std::string> paths;
  for (const LiveAsset& asset : LiveAssets()) {
    const std::string body(asset.body);
    const std::regex reference(R"re((?:src|href)="([^"]+)"|from "\./([^"]+)")re");
    for (std::sregex_iterator at(body.begin(), body.end(), reference), end; at != end; ++at) {
      paths.insert((*at)[1].matched ? (*at)[1].str() : "/live/" + (*at)[2].str());
    }
  }
  EXPECT_GT(paths.size(), 10);
  for (const std::string& path : paths) {
    const auto part = client_.Get(path);
    ASSERT_TRUE(part) << path;
    EXPECT_EQ(part->status, 200) << path;
    EXPECT_FALSE(part->body.empty()) << path;
  }
}

TEST_F(LivePageTest, NothingIsNamedElsewhere) {
  for (const LiveAsset& asset : LiveAssets()) {
    std::string body(asset.body);
    for (const std::string known : {"http://www.w3.org/1999/xhtml", "http://www.w3.org/2000/svg"}) {
      for (size_t at; (at = body.find(known)) != std::string::npos;) body.erase(at, known.size());
    }
    EXPECT_THAT(body, Not(HasSubstr("//www"))) << asset.name;
    EXPECT_THAT(body, Not(HasSubstr("http"))) << asset.name;
  }
}

TEST_F(LivePageTest, APolicyAllowsNoOtherOriginAndNoInlineScript) {
  for (const char* path : {"/", "/live/main.js", "/live.json", "/live/experts.json"}) {
    const auto answer = client_.Get(path);
    ASSERT_TRUE(answer) << path;
    const std::string policy = answer->get_header_value("Content-Security-Policy");
    EXPECT_THAT(policy, HasSubstr("default-src 'none'")) << path;
    EXPECT_THAT(policy, HasSubstr("frame-ancestors 'none'")) << path;
    EXPECT_THAT(policy, Not(HasSubstr("unsafe"))) << path;
    EXPECT_THAT(policy, Not(HasSubstr("*"))) << path;
    EXPECT_EQ(answer->get_header_value("X-Content-Type-Options"), "nosniff") << path;
  }
}

TEST_F(LivePageTest, JsonIsThatOfTheStateAndIsNotKept) {
  const auto state = client_.Get("/live.json");
  const auto experts = client_.Get("/live/experts.json");
  ASSERT_TRUE(state && experts);
  EXPECT_EQ(nlohmann::json::parse(state->body), State());
  EXPECT_EQ(nlohmann::json::parse(experts->body), Experts());
  EXPECT_EQ(state->get_header_value("Content-Type"), "application/json");
  EXPECT_EQ(state->get_header_value("Cache-Control"), "no-store");
}

TEST_F(LivePageTest, JsonIsCompressedWhereTheClientTakesIt) {
  for (int i = 0; i < 20; ++i) Patch({Arm("default", 1), Arm(absl::StrCat("arm", i), 1)});
  const auto plain = client_.Get("/live.json");
  client_.set_decompress(false);
  const auto packed = client_.Get("/live.json", {{"Accept-Encoding", "gzip"}});
  ASSERT_TRUE(plain && packed);
  EXPECT_EQ(packed->get_header_value("Content-Encoding"), "gzip");
  EXPECT_LT(packed->body.size() * 2, plain->body.size());
}

TEST_F(LivePageTest, HeadHasNoBodyAndOtherMethodsAndPathsAreRefused) {
  for (const char* path : {"/", "/live.json", "/live/page.css"}) {
    const auto head = client_.Head(path);
    ASSERT_TRUE(head) << path;
    EXPECT_EQ(head->status, 200) << path;
    EXPECT_EQ(head->body, "") << path;
    EXPECT_EQ(client_.Post(path, "x", "text/plain")->status, 404) << path;
    EXPECT_EQ(client_.Delete(path)->status, 404) << path;
  }
  for (const char* path : {"/live", "/live/", "/live/nothing.js", "/live/../live.json",
                           "/index.html", "/live/index.html", "/favicon.ico"}) {
    EXPECT_EQ(client_.Get(path)->status, 404) << path;
  }
}

// One thread belongs to a connection as long as it is open.
TEST_F(LivePageTest, PagesThatAreLeftOpenKeepNoThread) {
  std::vector<std::unique_ptr<httplib::Client>> pages;
  for (int i = 0; i < 40; ++i) {
    auto& page =
        pages.emplace_back(std::make_unique<httplib::Client>("127.0.0.1", server_->port()));
    page->set_keep_alive(true);
    ASSERT_TRUE(page->Get("/live.json")) << i;
    EXPECT_FALSE(page->is_socket_open()) << i;
  }
  EXPECT_EQ(client_.Get("/healthz")->status, 200);
}

}  // namespace
}  // namespace olmoe::http
