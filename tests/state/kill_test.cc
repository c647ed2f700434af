// kill -9 while plans are patched: a child with a store, a controller and a thread that
// patches is killed at a named point of a patch or at random, again and again on one
// directory; the parent then looks at what the directory says. The child reports every
// patch that it acknowledges through a pipe, in a single write.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "server/routing/controller.h"
#include "server/state/state_store.h"
#include "tests/routing/policies.h"
#include "tests/support/failing_plan_store.h"
#include "tests/support/temp_folder.h"

namespace olmoe::state {
namespace {

using routing::RoutingController;

// More for a long run.
int NumKills() {
  const char* kills = std::getenv("OLMOE_STATE_KILLS");
  return kills == nullptr ? 25 : std::atoi(kills);
}

enum class Point { kBeforeStore, kAfterStore, kAfterPublish, kRandom };

constexpr routing::RouterShape kShape{1, 8, 2, false};

// What the plan of a generation is: anybody can tell whether it is the right one.
std::string NoteOf(uint64_t generation) { return absl::StrCat("plan ", generation * 7919); }

routing::PlanSpec PlanFor(uint64_t generation) {
  return routing::PlanOf(
      {routing::ArmOf("default", routing::PolicyOf(routing::TopKRule(1 + generation % 8)))}, "",
      NoteOf(generation));
}

routing::PatchOptions OptionsFor(uint64_t generation) {
  routing::PatchOptions options;
  options.expected_generation = generation - 1;
  options.idempotency = {absl::StrCat("key-", generation), NoteOf(generation)};
  return options;
}

std::unique_ptr<RoutingController> Start(routing::PlanStore* store) {
  RoutingController::Options options;
  options.shape = kShape;
  options.store = store;
  auto controller = RoutingController::Create(std::move(options));
  CHECK(controller.ok()) << controller.status();
  return *std::move(controller);
}

void Tell(int out, uint64_t generation) {
  CHECK_EQ(write(out, &generation, sizeof(generation)), ssize_t{sizeof(generation)});
}

// The child: patches until it is killed, by itself at `point` of the patch `countdown`
// from now, or by the parent. Tells the generation that it starts with, then each that
// was acknowledged.
[[noreturn]] void PatchForEver(const std::string& dir, Point point, int countdown, int out) {
  const auto state = StateStore::Open(dir);
  CHECK(state.ok()) << state.status();
  testing::FailingPlanStore store(&(*state)->plans());
  const auto controller = Start(&store);
  const auto reached = [&](Point here) {
    if (here == point && countdown <= 0) raise(SIGKILL);
  };
  Tell(out, controller->slot().Current()->generation());
  store.before_append = [&] { reached(Point::kBeforeStore); };
  store.after_append = [&] { reached(Point::kAfterStore); };
  while (true) {
    --countdown;
    const uint64_t next = controller->slot().Current()->generation() + 1;
    const auto result = controller->Patch(PlanFor(next), OptionsFor(next));
    CHECK(result.ok()) << result.status();
    CHECK_EQ(result->record.generation, next);
    reached(Point::kAfterPublish);
    Tell(out, next);
  }
}

// The last acknowledged generation; `last` where there was none.
uint64_t RunAndKill(const std::string& dir, Point point, std::mt19937* random, uint64_t last) {
  int pipe_ends[2];
  CHECK_EQ(pipe(pipe_ends), 0);
  const int countdown = static_cast<int>((*random)() % 4);
  const pid_t child = fork();
  CHECK_GE(child, 0);
  if (child == 0) PatchForEver(dir, point, countdown, pipe_ends[1]);
  close(pipe_ends[1]);
  uint64_t told = 0;
  const auto hear = [&] {
    if (read(pipe_ends[0], &told, sizeof(told)) != sizeof(told)) return false;
    EXPECT_GE(told, last);
    last = told;
    return true;
  };
  if (point == Point::kRandom) {
    // One in four while the child starts, the others while it patches.
    if ((*random)() % 4 != 0) hear();
    absl::SleepFor(absl::Microseconds((*random)() % 60'000));
    kill(child, SIGKILL);
  }
  while (hear()) {
  }
  close(pipe_ends[0]);
  int status = 0;
  CHECK_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  return last;
}

// The directory is readable and serves a plan that was acknowledged or was on its way.
void CheckState(const std::string& dir, uint64_t acknowledged, uint64_t* current) {
  const auto state = StateStore::Open(dir);
  ASSERT_TRUE(state.ok()) << state.status();
  const auto controller = Start(&(*state)->plans());
  const auto record = controller->CurrentRecord();
  *current = record->generation;
  ASSERT_GE(record->generation, acknowledged) << "an acknowledged plan is lost";
  ASSERT_LE(record->generation, acknowledged + 1) << "a plan that nobody patched";
  if (record->generation == 1) return;
  EXPECT_EQ(record->spec, PlanFor(record->generation));
  // The patch and its answer are one: the client that never heard of it learns it now.
  const auto again = controller->Patch(PlanFor(record->generation), OptionsFor(record->generation));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->is_repeated);
  EXPECT_EQ(again->record.generation, record->generation);
}

class KillTest : public ::testing::TestWithParam<Point> {};

TEST_P(KillTest, NoAcknowledgedPlanIsLost) {
  testing::TempFolder folder;
  std::mt19937 random(20240501);
  uint64_t last = 1;
  for (int i = 0; i < NumKills() && !HasFailure(); ++i) {
    const uint64_t acknowledged = RunAndKill(folder.path(), GetParam(), &random, last);
    ASSERT_NO_FATAL_FAILURE(CheckState(folder.path(), acknowledged, &last));
    if (GetParam() == Point::kBeforeStore) {
      EXPECT_EQ(last, acknowledged);
    } else if (GetParam() != Point::kRandom) {
      EXPECT_EQ(last, acknowledged + 1);
    }
  }
  std::cout << NumKills() << " kills, " << last - 1 << " plans, 0 lost\n";
}

INSTANTIATE_TEST_SUITE_P(Points, KillTest,
                         ::testing::Values(Point::kBeforeStore, Point::kAfterStore,
                                           Point::kAfterPublish, Point::kRandom),
                         [](const auto& info) -> std::string {
                           switch (info.param) {
                             case Point::kBeforeStore: return "BeforeStore";
                             case Point::kAfterStore: return "AfterStore";
                             case Point::kAfterPublish: return "AfterPublish";
                             case Point::kRandom: return "AtRandom";
                           }
                           return "";
                         });

}  // namespace
}  // namespace olmoe::state
