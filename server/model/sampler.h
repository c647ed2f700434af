// From one row of logits to a token, and to what a row says about a given token.
#ifndef OLMOE_SERVER_MODEL_SAMPLER_H_
#define OLMOE_SERVER_MODEL_SAMPLER_H_

#include <span>

#include "absl/status/status.h"
#include "server/model/model.h"
#include "server/util/token_id.h"

namespace olmoe::model {

// Everything below is a pure function of its arguments, and takes time linear in the
// vocabulary unless a filter keeps a large part of it.
//
// Tokens are ordered by (logit descending, id ascending); that order settles every tie:
// the greedy token, ranks, alternatives and what the filters keep.
//
// Errors: INTERNAL if a logit is NaN or infinite; *out is unspecified then.

// Draws a token. In this order: logit bias, repetition penalty (once per distinct token of the
// history: a positive logit is divided by it, another one multiplied), presence penalty (subtracted
// once per distinct token of the completion) and frequency penalty (once per token of it),
// temperature, top-k, top-p (the smallest prefix whose probability, after top-k, is >= top_p; at
// least one token), min-p (at least min_p times the largest probability). Temperature 0 takes the
// first token of the order after the penalties. The draw depends on nothing but the logits and the
// request. Log-probabilities are those of the unchanged logits.
absl::Status SampleRow(std::span<const float> logits, const SampleRequest& request,
                       SampledToken* out);

// Log-probability and rank of `target` (1 = first of the order), and the first `top`
// tokens. Leaves out->row alone.
absl::Status ScoreRow(std::span<const float> logits, TokenId target, int top, ScoredRow* out);

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_SAMPLER_H_
