// olmoe-swap-storm: streams on a running server while its routing plan is swapped as fast as it
// goes. swap_storm.py starts the server, runs this and reads the server's histogram.
//
// A reply must be what its stamp says: the experts that it ran are counted exactly, and its greedy
// tokens are those of a solo run up to the first near tie. Operations of the model may round
// differently in batches of other sizes, so a token whose two best logits nearly tie may be the
// other one, and what follows it differs then. Prompts are chosen so that the policies differ in
// tokens before that. A quarter of the requests bring along the routing that one of the solo runs
// left, and get its reply, whatever the plan is: the server must allow inline policies.
#include <grpcpp/create_channel.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "glog/logging.h"
#include "olmoe/v1/admin.grpc.pb.h"
#include "olmoe/v1/inference.grpc.pb.h"

namespace olmoe {
namespace {

constexpr float kNearTieNats = 1e-3f;
constexpr size_t kPrompts = 8;
constexpr uint32_t kPromptTokens = 6;
constexpr char kRouter[] = "swap-storm";

struct Flags {
  std::string server, admin;
  int swaps = 1000;
  int streams = 64;
  uint32_t tokens = 16;  // of a reply
};

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

v1::RoutingPolicy TopK(uint32_t k) {
  v1::RoutingPolicy policy;
  policy.set_policy_id(absl::StrCat("k", k));
  policy.mutable_apply()->mutable_top_k()->set_k(k);
  return policy;
}

void AddArm(const v1::RoutingPolicy& policy, uint32_t weight, v1::RoutingPlan* plan) {
  v1::Arm* arm = plan->add_arms();
  arm->set_arm_id(policy.policy_id());
  arm->set_weight(weight);
  *arm->mutable_policy() = policy;
}

// Six plans; no policy is in two of them. Every policy has a fixed number of experts per token.
std::vector<v1::RoutingPlan> MakePlans(uint32_t own_k) {
  std::vector<v1::RoutingPlan> plans(6);
  v1::RoutingPolicy own, layers = TopK(2), routed = TopK(4);
  own.set_policy_id("own");
  own.mutable_analyze()->mutable_top_k()->set_k(own_k + 1);
  layers.set_policy_id("layers");
  layers.add_layer_overrides()->add_layers(0);
  layers.mutable_layer_overrides(0)->mutable_apply()->mutable_top_k()->set_k(own_k);
  AddArm(own, 1, &plans[0]);
  AddArm(TopK(1), 1, &plans[1]);
  AddArm(TopK(2), 50, &plans[2]);
  AddArm(TopK(own_k + 2), 50, &plans[2]);
  AddArm(TopK(3), 98, &plans[3]);
  AddArm(TopK(2 * own_k), 2, &plans[3]);
  plans[3].set_salt("few");
  AddArm(layers, 1, &plans[4]);
  routed.set_policy_id("routed");
  routed.set_router(kRouter);
  AddArm(routed, 1, &plans[5]);
  return plans;
}

v1::GenerateRequest MakeRequest(const std::vector<uint32_t>& prompt, uint32_t tokens) {
  v1::GenerateRequest request;
  request.mutable_tokens()->mutable_ids()->Add(prompt.begin(), prompt.end());
  request.set_max_new_tokens(tokens);
  request.set_ignore_eos(true);
  request.mutable_sampling()->set_temperature(0);
  return request;
}

// What every reply of one prompt under one policy must show, and of one that replays its trace.
struct Expected {
  v1::RoutingTrace trace;
  std::vector<uint32_t> tokens;  // before the first near tie
  uint64_t expert_activations = 0;
};

// By policy id.
using Replies = std::map<std::string, Expected>;

struct Specimen {
  std::vector<uint32_t> prompt;
  Replies replies;
};

Expected ToExpected(const v1::GenerateResponse& reply) {
  Expected expected;
  expected.trace = reply.trace();
  expected.expert_activations = reply.usage().expert_activations();
  for (const v1::GeneratedToken& token : reply.tokens()) {
    if (token.top(0).logprob() - token.top(1).logprob() < kNearTieNats) break;
    expected.tokens.push_back(token.token_id());
  }
  return expected;
}

bool DifferPairwise(const Replies& replies) {
  for (auto a = replies.begin(); a != replies.end(); ++a) {
    for (auto b = std::next(a); b != replies.end(); ++b) {
      const auto& [shorter, longer] =
          std::minmax(a->second.tokens, b->second.tokens,
                      [](const auto& x, const auto& y) { return x.size() < y.size(); });
      if (std::equal(shorter.begin(), shorter.end(), longer.begin())) return false;
    }
  }
  return true;
}

// The server under test and what is known about it. Thread-safe once prepared.
class Storm {
 public:
  explicit Storm(const Flags& flags)
      : flags_(flags), admin_(v1::RoutingAdminService::NewStub(Connect(flags.admin))) {
    grpc::ClientContext context;
    const auto stub = v1::InferenceService::NewStub(Connect(flags_.server));
    const grpc::Status status = stub->GetModelInfo(&context, {}, &info_);
    CHECK(status.ok()) << status.error_message();
    plans_ = MakePlans(info_.default_top_k());
    PutRouter();
  }

  // The model's own, but the experts of each layer in another order.
  void PutRouter() {
    grpc::ClientContext get_context, put_context;
    v1::PutRouterResponse response;
    const auto writer = admin_->PutRouter(&put_context, &response);
    const auto reader = admin_->GetRouter(&get_context, {});
    v1::GetRouterResponse own;
    while (reader->Read(&own)) {
      v1::PutRouterRequest turned;
      turned.set_router_id(kRouter);
      *turned.mutable_router_layer() = own.router_layer();
      v1::RouterLayer& layer = *turned.mutable_router_layer();
      std::string& rows =
          layer.has_float32() ? *layer.mutable_float32() : *layer.mutable_bfloat16();
      const size_t row_bytes = rows.size() / info_.num_experts();
      std::rotate(rows.begin(), rows.begin() + static_cast<ptrdiff_t>(row_bytes), rows.end());
      CHECK(writer->Write(turned));
    }
    CHECK(reader->Finish().ok());
    writer->WritesDone();
    const grpc::Status status = writer->Finish();
    CHECK(status.ok()) << status.error_message();
  }

  // Solo runs of random prompts under every policy, until enough prompts tell them all apart.
  void ChooseSpecimens() {
    constexpr int kCandidates = 400;
    std::mt19937 random(7);
    std::vector<Specimen> candidates(kCandidates);
    for (Specimen& candidate : candidates) {
      for (uint32_t i = 0; i < kPromptTokens; ++i) {
        candidate.prompt.push_back(static_cast<uint32_t>(random() % info_.vocab_size()));
      }
    }
    for (size_t tried = 0; specimens_.size() < kPrompts && tried < candidates.size();
         tried += kPrompts) {
      const auto batch = std::span(candidates).subspan(tried, kPrompts);
      for (const v1::RoutingPlan& plan : plans_) {
        for (const v1::Arm& arm : plan.arms()) RunSolo(arm.policy(), batch);
      }
      for (const Specimen& candidate : batch) {
        if (DifferPairwise(candidate.replies)) specimens_.push_back(candidate);
      }
    }
    CHECK(!specimens_.empty()) << "no prompt tells the policies apart";
  }

  // Swaps as often as asked for, and on until the streams have met it a few times; then `over`.
  void Swap() {
    std::mt19937 random(1);
    size_t plan = 0;
    const int64_t min_requests = int64_t{4} * flags_.streams;
    for (; num_swaps_ < flags_.swaps || num_requests_ < min_requests; ++num_swaps_) {
      plan = (plan + 1 + random() % (plans_.size() - 1)) % plans_.size();
      v1::PatchRoutersRequest request;
      *request.mutable_plan() = plans_[plan];
      request.set_expected_generation(published_);
      const v1::PatchRoutersResponse response = Patch(request);
      CHECK_EQ(response.current().generation(), published_ + 1);
      published_ = response.current().generation();
    }
    over_ = true;
  }

  // One client: a stream after the other, over a connection of its own.
  void Stream(unsigned seed) {
    std::mt19937 random(seed);
    const auto stub = v1::InferenceService::NewStub(Connect(flags_.server));
    uint64_t last_generation = 0;
    do {
      const Specimen& specimen = specimens_[random() % specimens_.size()];
      v1::GenerateRequest request = MakeRequest(specimen.prompt, flags_.tokens);
      request.set_unit_id(absl::StrCat(random() % 1000));
      std::string replayed;  // the policy whose routing this request brings along
      if (random() % 4 == 0) {
        const auto reply = std::next(specimen.replies.begin(),
                                     static_cast<ptrdiff_t>(random() % specimen.replies.size()));
        replayed = reply->first;
        v1::Replay* replay = request.mutable_routing()->mutable_replay();
        *replay->mutable_trace() = reply->second.trace;
        replay->set_weights(v1::REPLAY_WEIGHTS_RECORDED);
      }
      const uint64_t published = published_;
      grpc::ClientContext context;
      const auto reader = stub->GenerateStream(&context, request);
      v1::GenerateStreamResponse message;
      v1::RoutingStamp started;
      std::vector<uint32_t> tokens;
      bool done = false;
      while (reader->Read(&message)) {
        if (message.has_started()) started = message.started().routing();
        tokens.insert(tokens.end(), message.delta().token_ids().begin(),
                      message.delta().token_ids().end());
        done = message.has_done();
        if (done) Check(specimen, replayed, started, tokens, message.done());
      }
      const grpc::Status status = reader->Finish();
      ++num_requests_;
      if (!status.ok() || !done) Fail("a request failed: " + status.error_message());
      if (started.generation() < published) Fail("an older plan than was published");
      if (started.generation() < last_generation) Fail("the generation went back");
      last_generation = started.generation();
    } while (!over_);
  }

  int Report(double seconds) const {
    std::printf("%.0f swaps/s for %.1f s\n", num_swaps_ / seconds, seconds);
    std::printf(
        "%d swaps, %d streams, %lld requests, %zu prompts that tell %zu policies apart: "
        "%lld failures\n",
        num_swaps_, flags_.streams, static_cast<long long>(num_requests_), specimens_.size(),
        specimens_[0].replies.size(), static_cast<long long>(num_failures_));
    return num_failures_ == 0 ? 0 : 1;
  }

 private:
  v1::PatchRoutersResponse Patch(const v1::PatchRoutersRequest& request) {
    grpc::ClientContext context;
    v1::PatchRoutersResponse response;
    const grpc::Status status = admin_->PatchRouters(&context, request, &response);
    CHECK(status.ok()) << status.error_message();
    return response;
  }

  void RunSolo(const v1::RoutingPolicy& policy, std::span<Specimen> specimens) {
    v1::PatchRoutersRequest patch;
    *patch.mutable_policy() = policy;
    published_ = Patch(patch).current().generation();
    const auto stub = v1::InferenceService::NewStub(Connect(flags_.server));
    for (Specimen& specimen : specimens) {
      v1::GenerateRequest request = MakeRequest(specimen.prompt, flags_.tokens);
      request.set_logprobs(2);
      request.mutable_trace()->set_experts(true);
      request.mutable_trace()->set_weights(true);
      grpc::ClientContext context;
      v1::GenerateResponse reply;
      const grpc::Status status = stub->Generate(&context, request, &reply);
      CHECK(status.ok()) << status.error_message();
      specimen.replies[policy.policy_id()] = ToExpected(reply);
    }
  }

  void Check(const Specimen& specimen, const std::string& replayed, const v1::RoutingStamp& started,
             const std::vector<uint32_t>& tokens, const v1::GenerateResponse& done) {
    if ((started.policy_id() == "replay") != !replayed.empty()) Fail("a stamp of another request");
    const std::string& policy = replayed.empty() ? started.policy_id() : replayed;
    const Expected& expected = specimen.replies.at(policy);
    if (done.routing().SerializeAsString() != started.SerializeAsString()) {
      Fail("the stamp changed");
    }
    if (done.usage().expert_activations() != expected.expert_activations) {
      Fail("other experts than those of " + policy);
    }
    if (tokens.size() != flags_.tokens ||
        !std::equal(expected.tokens.begin(), expected.tokens.end(), tokens.begin())) {
      Fail("other tokens than those of " + policy);
    }
  }

  void Fail(const std::string& what) {
    constexpr int kPrinted = 20;
    if (++num_failures_ <= kPrinted) std::fprintf(stderr, "%s\n", what.c_str());
  }

  const Flags flags_;
  const std::unique_ptr<v1::RoutingAdminService::Stub> admin_;
  v1::GetModelInfoResponse info_;
  std::vector<v1::RoutingPlan> plans_;
  std::vector<Specimen> specimens_;
  int num_swaps_ = 0;
  std::atomic<uint64_t> published_ = 0;  // a generation whose patch has returned
  std::atomic<bool> over_ = false;
  std::atomic<int64_t> num_requests_ = 0;
  std::atomic<int64_t> num_failures_ = 0;
};

int Main(int argc, char** argv) {
  Flags flags;
  CLI::App app("Swaps the routing plan of a server while streams run on it");
  app.add_option("--server", flags.server, "address of the inference port")->required();
  app.add_option("--admin", flags.admin, "address of the admin port")->required();
  app.add_option("--swaps", flags.swaps)->check(CLI::PositiveNumber);
  app.add_option("--streams", flags.streams)->check(CLI::Range(1, 256));
  app.add_option("--tokens", flags.tokens, "of a reply")->check(CLI::Range(1, 256));
  CLI11_PARSE(app, argc, argv);
  Storm storm(flags);
  storm.ChooseSpecimens();
  std::vector<std::thread> threads;
  for (int i = 0; i < flags.streams; ++i) {
    threads.emplace_back([&storm, i] { storm.Stream(static_cast<unsigned>(i)); });
  }
  const absl::Time start = absl::Now();
  storm.Swap();
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  for (std::thread& thread : threads) thread.join();
  return storm.Report(seconds);
}

}  // namespace
}  // namespace olmoe

int main(int argc, char** argv) { return olmoe::Main(argc, argv); }
