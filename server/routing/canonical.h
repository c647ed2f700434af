// Canonical text of rules, policies and plans: what their digests are taken of.
// Names, descriptions and notes are not part of it, defaults are filled in,
// parameters without effect are left out: equal behaviour gives equal text.
#ifndef OLMOE_SERVER_ROUTING_CANONICAL_H_
#define OLMOE_SERVER_ROUTING_CANONICAL_H_

#include <string>
#include <string_view>

#include "server/routing/route.h"

namespace olmoe::routing {

// A rule made by MakeLayerRule. `calibration_digest` stands for the calibration of
// a rule on a layer CDF.
std::string CanonicalApply(const Rule& rule, std::string_view calibration_digest);

// The same for a rule that only decides a count: its weights have no effect.
std::string CanonicalAnalyze(const Rule& rule, std::string_view calibration_digest);

// The first line of a policy: what of the model all rules depend on.
std::string CanonicalShape(const RouterShape& shape);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_CANONICAL_H_
