#include "server/api/replay_proto.h"

#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace olmoe::api {
namespace {

routing::ReplayWeights ParseWeights(v1::ReplayWeights weights, const std::string& field,
                                    RequestErrors* errors) {
  if (weights == v1::REPLAY_WEIGHTS_RECORDED) return routing::ReplayWeights::kRecorded;
  if (weights != v1::REPLAY_WEIGHTS_UNSPECIFIED && weights != v1::REPLAY_WEIGHTS_LIVE) {
    errors->Add(field, absl::StrCat("is not known: ", static_cast<int>(weights)));
  }
  return routing::ReplayWeights::kLive;
}

std::vector<uint8_t> ToBytes(const std::string& bytes) { return {bytes.begin(), bytes.end()}; }

}  // namespace

std::shared_ptr<const routing::RecordedRouting> ParseReplay(const v1::Replay& replay,
                                                            const std::string& field,
                                                            const routing::RouterShape& shape,
                                                            RequestErrors* errors) {
  const v1::RoutingTrace& trace = replay.trace();
  const int errors_before = errors->num_added();
  routing::Replay parsed;
  parsed.first_position = trace.first_position();
  parsed.num_positions = trace.num_positions();
  parsed.num_layers = trace.num_layers();
  parsed.counts = ToBytes(trace.counts());
  parsed.experts = ToBytes(trace.experts());
  parsed.mode = ParseWeights(replay.weights(), absl::StrCat(field, ".weights"), errors);
  if (parsed.mode == routing::ReplayWeights::kRecorded) {
    const size_t bytes = trace.weights().size();
    if (bytes % sizeof(float) == 0) {
      parsed.weights.resize(bytes / sizeof(float));
      if (bytes > 0) std::memcpy(parsed.weights.data(), trace.weights().data(), bytes);
    } else {
      errors->Add(absl::StrCat(field, ".trace.weights"),
                  absl::StrCat("must have 4 bytes for each expert, has ", bytes, " bytes"));
      parsed.mode = routing::ReplayWeights::kLive;  // what is wrong with them is told
    }
  }
  std::vector<FieldViolation> violations;
  routing::ValidateReplay(parsed, shape, field, &violations);
  for (FieldViolation& violation : violations) {
    errors->Add(std::move(violation.field), std::move(violation.description));
  }
  if (errors->num_added() != errors_before) return nullptr;
  return std::make_shared<const routing::RecordedRouting>(std::move(parsed));
}

}  // namespace olmoe::api
