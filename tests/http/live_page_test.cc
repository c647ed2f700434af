#include <memory>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "server/http/http_server.h"
#include "server/http/live_assets.h"
#include "server/http/monitoring.h"
#include "tests/http/live_fixture.h"
#include "tests/http/raw_client.h"

namespace olmoe::http {
namespace {

using testing::Answer;
using testing::Gunzip;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::RawClient;

class LivePageTest : public LiveTest {
 protected:
  LivePageTest()
      : server_(HttpServer::Create({.listener = net::Listener::Bind("127.0.0.1:0").value(),
                                    .routes = MonitoringRoutes({.metrics = &metrics_,
                                                                .ready = [] { return true; },
                                                                .live = live_.get()})
                                                  .value()})
                    .value()),
        client_(server_->port()) {}

  const std::unique_ptr<HttpServer> server_;
  RawClient client_;
};

TEST_F(LivePageTest, ThePageAndAllItNamesIsThere) {
  const Answer page = client_.Get("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.Header("Content-Type"), "text/html; charset=utf-8");
  EXPECT_THAT(page.body, HasSubstr("<title>OLMoE live</title>"));
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
    const Answer part = client_.Get(path);
    EXPECT_EQ(part.status, 200) << path;
    EXPECT_FALSE(part.body.empty()) << path;
    const Answer packed = client_.Get(path, "Accept-Encoding: gzip\r\n");
    EXPECT_EQ(packed.Header("Content-Encoding"), "gzip") << path;
    EXPECT_EQ(packed.Header("Vary"), "Accept-Encoding") << path;
    if (!path.ends_with(".json")) {
      EXPECT_EQ(Gunzip(packed.body), part.body) << path;
    }
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
    const Answer answer = client_.Get(path);
    EXPECT_EQ(answer.status, 200) << path;
    const std::string policy = answer.Header("Content-Security-Policy");
    EXPECT_THAT(policy, HasSubstr("default-src 'none'")) << path;
    EXPECT_THAT(policy, HasSubstr("frame-ancestors 'none'")) << path;
    EXPECT_THAT(policy, Not(HasSubstr("unsafe"))) << path;
    EXPECT_THAT(policy, Not(HasSubstr("*"))) << path;
    EXPECT_EQ(answer.Header("X-Content-Type-Options"), "nosniff") << path;
  }
}

TEST_F(LivePageTest, JsonIsThatOfTheStateAndIsNotKept) {
  const Answer state = client_.Get("/live.json");
  const Answer experts = client_.Get("/live/experts.json");
  EXPECT_EQ(nlohmann::json::parse(state.body), State());
  EXPECT_EQ(nlohmann::json::parse(experts.body), Experts());
  EXPECT_EQ(state.Header("Content-Type"), "application/json");
  EXPECT_EQ(state.Header("Cache-Control"), "no-store");
}

TEST_F(LivePageTest, JsonIsCompressedWhereTheClientTakesIt) {
  for (int i = 0; i < 20; ++i) Patch({Arm("default", 1), Arm(absl::StrCat("arm", i), 1)});
  const Answer plain = client_.Get("/live.json");
  const Answer packed = client_.Get("/live.json", "Accept-Encoding: gzip\r\n");
  EXPECT_EQ(packed.Header("Content-Encoding"), "gzip");
  EXPECT_LT(packed.body.size() * 2, plain.body.size());
  EXPECT_EQ(nlohmann::json::parse(Gunzip(packed.body)), State());
}

TEST_F(LivePageTest, HeadHasNoBodyAndOtherMethodsAndPathsAreRefused) {
  for (const std::string path : {"/", "/live.json", "/live/page.css"}) {
    const auto status_of = [&](const std::string& method) {
      EXPECT_TRUE(client_.Send(absl::StrCat(method, " ", path, " HTTP/1.1\r\nHost: a\r\n\r\n")));
      return client_.Read(/*without_body=*/method == "HEAD").status;
    };
    EXPECT_EQ(status_of("HEAD"), 200) << path;
    EXPECT_EQ(status_of("POST"), 405) << path;
    EXPECT_EQ(status_of("DELETE"), 405) << path;
  }
  for (const char* path : {"/live", "/live/", "/live/nothing.js", "/live/../live.json",
                           "/index.html", "/live/index.html", "/favicon.ico"}) {
    EXPECT_EQ(client_.Get(path).status, 404) << path;
  }
}

}  // namespace
}  // namespace olmoe::http
