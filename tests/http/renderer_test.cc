#include "server/http/renderer.h"

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "tests/http/raw_client.h"

namespace olmoe::http {
namespace {

using testing::Gunzip;

// An answer to wait for.
struct Asked {
  absl::Notification done;
  Response response;

  Reply MakeReply() {
    return Reply([this](Response given) {
      response = std::move(given);
      done.Notify();
    });
  }
  const Response& Await() {
    done.WaitForNotification();
    return response;
  }
};

TEST(RendererTest, APageIsMadeOnceForAllWhoWaitAndAnewForWhoComesLater) {
  auto renderer = Renderer::Start();
  ASSERT_TRUE(renderer.ok());
  absl::Notification begun, go_on;
  std::atomic<int> made = 0;
  Renderer::Page* page = (*renderer)->AddPage(
      [&] {
        const int number = ++made;
        if (number == 1) {
          begun.Notify();
          go_on.WaitForNotification();
        }
        return absl::StrCat("text ", number);
      },
      "text/plain", {{"X", "y"}});
  std::vector<Asked> asked(10);
  (*renderer)->Answer(page, false, asked[0].MakeReply());
  begun.WaitForNotification();
  for (size_t i = 1; i < asked.size(); ++i) {
    (*renderer)->Answer(page, i % 2 == 0, asked[i].MakeReply());
  }
  go_on.Notify();
  EXPECT_EQ(*asked[0].Await().body, "text 1");
  for (size_t i = 1; i < asked.size(); ++i) {
    const Response& response = asked[i].Await();
    EXPECT_EQ(i % 2 == 0 ? Gunzip(*response.body) : *response.body, "text 2");
    EXPECT_EQ(response.body, asked[i % 2 == 0 ? 2 : 1].Await().body);  // the same object
    EXPECT_EQ(response.fields.back(), (std::pair<std::string, std::string>("X", "y")));
  }
  EXPECT_EQ(made, 2);
}

TEST(RendererTest, PagesThatFailAreErrorsAndOthersGoOn) {
  auto renderer = Renderer::Start();
  ASSERT_TRUE(renderer.ok());
  Renderer::Page* bad = (*renderer)->AddPage(
      []() -> std::string { throw std::runtime_error("a slip"); }, "text/plain", {});
  Renderer::Page* good = (*renderer)->AddPage([] { return "good"; }, "text/plain", {});
  Asked first, second;
  (*renderer)->Answer(bad, false, first.MakeReply());
  (*renderer)->Answer(good, false, second.MakeReply());
  EXPECT_EQ(first.Await().status, 500);
  EXPECT_EQ(*second.Await().body, "good");
}

TEST(RendererTest, WhatWaitsAtTheEndIsAnError) {
  auto renderer = Renderer::Start();
  ASSERT_TRUE(renderer.ok());
  absl::Notification begun, go_on;
  Renderer::Page* slow = (*renderer)->AddPage(
      [&] {
        begun.Notify();
        go_on.WaitForNotification();
        return "slow";
      },
      "text/plain", {});
  Renderer::Page* other = (*renderer)->AddPage([] { return "other"; }, "text/plain", {});
  Asked first, second;
  (*renderer)->Answer(slow, false, first.MakeReply());
  begun.WaitForNotification();
  (*renderer)->Answer(other, false, second.MakeReply());
  std::thread end([&] { renderer->reset(); });
  go_on.Notify();
  end.join();
  EXPECT_EQ(*first.Await().body, "slow");
  const int status = second.Await().status;  // 200 where the thread was faster than the end
  EXPECT_TRUE(status == 500 || status == 200) << status;
}

}  // namespace
}  // namespace olmoe::http
