// How much memory a request can take, from its admission until its answer is written: what it is
// made of, what the engine delivers, and the message that this becomes. Upper bounds, about.
#ifndef OLMOE_SERVER_API_REQUEST_COST_H_
#define OLMOE_SERVER_API_REQUEST_COST_H_

#include <cstdint>

#include "server/api/calibration_request.h"
#include "server/api/score_request.h"
#include "server/engine/request.h"
#include "server/experiment/engine_request.h"
#include "server/model/model.h"

namespace olmoe::api {

// Bytes on the wire of one position of a trace, all layers of it.
int64_t TraceBytes(const engine::TraceOptions& trace, const model::ModelInfo& model);
// Bytes on the wire of the answer to a score request, beside a few numbers per item.
int64_t AnswerBytes(const ScoreInput& input, const model::ModelInfo& model);

int64_t MemoryOf(const engine::GenerateWork& work, const model::ModelInfo& model);
// Of one that is streamed: of its output no more than `pending` bytes wait.
int64_t StreamMemoryOf(const engine::GenerateWork& work, const model::ModelInfo& model,
                       int64_t pending);
int64_t MemoryOf(const ScoreInput& input, const model::ModelInfo& model);
// Of what the request brought along to be routed by.
int64_t MemoryOf(const experiment::RoutingChoice& routing);
int64_t MemoryOf(const experiment::CalibrationInput& input, const model::ModelInfo& model);

}  // namespace olmoe::api

#endif  // OLMOE_SERVER_API_REQUEST_COST_H_
