#include "server/log/line_writer.h"

#include <signal.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/log/pipe.h"

namespace olmoe::log {
namespace {

using ::testing::ElementsAre;

std::string Dropped(uint64_t count) { return absl::StrCat("dropped ", count, "\n"); }

TEST(LineWriterTest, LinesArriveWholeAndInTheOrderOfEachThread) {
  Pipe pipe;
  constexpr int kThreads = 4, kLines = 100;
  {
    LineWriter writer({.fd = pipe.writer()});
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&writer, t] {
        for (int i = 0; i < kLines; ++i) writer.Write(absl::StrCat(t, ":", i, "\n"));
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  std::vector<int> next(kThreads);
  const std::vector<std::string> lines = pipe.ReadRest();
  EXPECT_EQ(lines.size(), size_t{kThreads} * kLines);
  for (const std::string& line : lines) {
    const int thread = line[0] - '0';
    EXPECT_EQ(line, absl::StrCat(thread, ":", next.at(thread)++));
  }
}

TEST(LineWriterTest, ALineLongerThanThePipeArrives) {
  Pipe pipe;
  const std::string line(200'000, 'x');
  LineWriter writer({.fd = pipe.writer()});
  writer.Write(line + "\n");
  EXPECT_EQ(pipe.ReadLine(), line);
}

TEST(LineWriterTest, FlushReturnsWhenAllIsWritten) {
  Pipe pipe;
  LineWriter writer({.fd = pipe.writer(), .patience = absl::InfiniteDuration()});
  writer.Write("a\n");
  writer.Write("b\n");
  writer.Flush();
  EXPECT_THAT(pipe.ReadRest(), ElementsAre("a", "b"));
}

// The reader takes nothing while ten times as much is logged as may wait.
TEST(LineWriterTest, WhoLogsNeverWaitsAndTheReaderLearnsHowMuchIsMissing) {
  Pipe pipe;
  const std::string line = std::string(99, 'x') + "\n";
  constexpr uint64_t kLines = 20'000;
  auto writer =
      std::make_unique<LineWriter>(LineWriter::Options{.fd = pipe.writer(),
                                                       .max_waiting_bytes = 200'000,
                                                       .dropped_line = &Dropped,
                                                       .patience = absl::InfiniteDuration()});
  for (uint64_t i = 0; i < kLines; ++i) writer->Write(line);
  std::thread end([&] {
    writer.reset();
    pipe.CloseWriter();
  });
  uint64_t read = 0, dropped = 0;
  for (const std::string& got : pipe.ReadToEnd()) {
    uint64_t some = 0;
    if (absl::StartsWith(got, "dropped ") && absl::SimpleAtoi(got.substr(8), &some)) {
      dropped += some;
    } else {
      EXPECT_EQ(got + "\n", line);
      ++read;
    }
  }
  end.join();
  EXPECT_EQ(read + dropped, kLines);
  EXPECT_GT(dropped, kLines / 2);
}

TEST(LineWriterTest, TheEndDoesNotWaitForAReaderThatTakesNothing) {
  Pipe pipe;
  LineWriter writer({.fd = pipe.writer(), .patience = absl::ZeroDuration()});
  for (int i = 0; i < 1000; ++i) writer.Write(std::string(999, 'x') + "\n");
  writer.Flush();
}

TEST(LineWriterTest, AReaderThatIsGoneHarmsNobody) {
  signal(SIGPIPE, SIG_IGN);  // as the server does
  Pipe pipe;
  pipe.CloseReader();
  LineWriter writer({.fd = pipe.writer(), .patience = absl::InfiniteDuration()});
  for (int i = 0; i < 3; ++i) {
    writer.Write("x\n");
    writer.Flush();
  }
}

}  // namespace
}  // namespace olmoe::log
