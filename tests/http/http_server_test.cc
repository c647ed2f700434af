#include "server/http/http_server.h"

#include <httplib.h>

#include <atomic>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/http/metrics_text.h"

namespace olmoe::http {
namespace {

using ::testing::HasSubstr;

class FixedMetrics : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    prometheus::MetricFamily family{"olmoe_test", "Help.", prometheus::MetricType::Gauge, {}};
    for (int i = 0; i < 500; ++i) {
      prometheus::ClientMetric& sample = family.metric.emplace_back();
      sample.label.push_back({"i", absl::StrCat(i)});
      sample.gauge.value = i;
    }
    return {family};
  }
};

class HttpServerTest : public ::testing::Test {
 protected:
  HttpServerTest() {
    auto server = HttpServer::Create(
        {.metrics = &metrics_, .ready = [this] { return ready_.load(); }});
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    client_ = std::make_unique<httplib::Client>("127.0.0.1", server_->port());
  }

  FixedMetrics metrics_;
  std::atomic<bool> ready_ = true;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<httplib::Client> client_;
};

TEST_F(HttpServerTest, MetricsAreInPrometheusTextFormat) {
  const auto response = client_->Get("/metrics");
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->get_header_value("Content-Type"),
            "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_THAT(response->body, HasSubstr("# HELP olmoe_test Help.\n"));
  EXPECT_THAT(response->body, HasSubstr("olmoe_test{i=\"499\"} 499\n"));
}

TEST_F(HttpServerTest, MetricsAreCompressedWhereTheClientTakesIt) {
  const auto plain = client_->Get("/metrics");
  client_->set_decompress(false);
  const auto packed = client_->Get("/metrics", {{"Accept-Encoding", "gzip"}});
  ASSERT_TRUE(plain && packed);
  EXPECT_EQ(packed->get_header_value("Content-Encoding"), "gzip");
  EXPECT_EQ(packed->get_header_value_count("Content-Encoding"), 1u);
  EXPECT_LT(packed->body.size() * 3, plain->body.size());
  client_->set_decompress(true);
  const auto unpacked = client_->Get("/metrics", {{"Accept-Encoding", "gzip"}});
  ASSERT_TRUE(unpacked);
  EXPECT_EQ(unpacked->body, plain->body);
}

TEST_F(HttpServerTest, MetricsAreNotCompressedForAClientThatDoesNotTakeIt) {
  client_->set_decompress(false);
  for (const char* accept : {"identity", "gzip;q=0", "br, *;q=0", "deflate"}) {
    const auto response = client_->Get("/metrics", {{"Accept-Encoding", accept}});
    ASSERT_TRUE(response);
    EXPECT_FALSE(response->has_header("Content-Encoding")) << accept;
    EXPECT_THAT(response->body, HasSubstr("olmoe_test{i=\"499\"} 499\n"));
  }
}

TEST(TakesGzipTest, AnEncodingIsTakenByNameOrStarUnlessItsWeightIsZero) {
  for (const char* yes :
       {"gzip", "deflate, gzip;q=1.0", "GZIP", "*", "*;q=0, gzip", "gzip ; q=0.5"}) {
    EXPECT_TRUE(TakesGzip(yes)) << yes;
  }
  for (const char* no :
       {"", "identity", "gzip;q=0", "*, gzip;q=0", "gzip;q=x", "xgzip", ";", ","}) {
    EXPECT_FALSE(TakesGzip(no)) << no;
  }
}

TEST_F(HttpServerTest, HealthIsLivenessAndReadyIsReadiness) {
  EXPECT_EQ(client_->Get("/healthz")->status, 200);
  EXPECT_EQ(client_->Get("/readyz")->status, 200);
  ready_ = false;
  EXPECT_EQ(client_->Get("/healthz")->status, 200);
  EXPECT_EQ(client_->Get("/readyz")->status, 503);
}

TEST_F(HttpServerTest, OtherPathsMethodsAndLargeBodiesAreRefused) {
  EXPECT_EQ(client_->Get("/admin")->status, 404);
  EXPECT_EQ(client_->Post("/metrics", "x", "text/plain")->status, 404);
  EXPECT_EQ(client_->Post("/metrics", std::string(1 << 20, 'x'), "text/plain")->status, 413);
  EXPECT_EQ(client_->Get("/healthz")->status, 200);
}

TEST_F(HttpServerTest, APortInUseIsAnError) {
  const auto second = HttpServer::Create(
      {.port = server_->port(), .metrics = &metrics_, .ready = [] { return true; }});
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(absl::StrCat(server_->port())));
}

TEST_F(HttpServerTest, StopMayComeAtOnceAndTwice) {
  for (int i = 0; i < 20; ++i) {
    auto server = HttpServer::Create({.metrics = &metrics_, .ready = [] { return true; }});
    ASSERT_TRUE(server.ok());
    (*server)->Stop();
    (*server)->Stop();
  }
}

}  // namespace
}  // namespace olmoe::http
