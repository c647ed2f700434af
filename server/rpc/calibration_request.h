#ifndef OLMOE_SERVER_RPC_CALIBRATION_REQUEST_H_
#define OLMOE_SERVER_RPC_CALIBRATION_REQUEST_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "olmoe/v1/admin.pb.h"
#include "server/engine/request.h"
#include "server/rpc/service_context.h"
#include "server/util/token_id.h"

namespace olmoe::rpc {

// A BuildCalibrationRequest with every field checked.
struct CalibrationInput {
  std::string calibration_id;
  int trim_top = 0;
  // From texts: what is to be scored, in groups small enough to hold the router logits
  // of one in memory. Empty: from live tokens.
  std::vector<std::vector<engine::ScoreWindow>> groups;
  uint64_t live_tokens = 0;
  std::vector<std::string> arm_ids;
};

// Errors: INVALID_ARGUMENT with every violation; then FAILED_PRECONDITION (texts without
// a tokenizer), ALREADY_EXISTS (live tokens under a name that is taken: they would not
// be the same again).
absl::StatusOr<CalibrationInput> ParseBuildCalibration(const v1::BuildCalibrationRequest& request,
                                                       const ServiceContext& context);

// Windows whose rows are exactly `tokens`, at most max_context each: the last token of a
// window is one that is only a target and has no row.
std::vector<engine::ScoreWindow> CalibrationWindows(std::span<const TokenId> tokens,
                                                    int max_context);

// Consecutive windows together, as many as have at most `max_rows` rows; one at least.
std::vector<std::vector<engine::ScoreWindow>> GroupWindows(
    std::vector<engine::ScoreWindow> windows, int max_rows);

}  // namespace olmoe::rpc

#endif  // OLMOE_SERVER_RPC_CALIBRATION_REQUEST_H_
