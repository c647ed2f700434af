#ifndef OLMOE_SERVER_MODEL_LOAD_PARTS_H_
#define OLMOE_SERVER_MODEL_LOAD_PARTS_H_

#include "absl/status/statusor.h"
#include "server/model/load_model.h"
#include "server/model/olmoe_model.h"

namespace olmoe::model {

// What LoadModel puts together, by name of the operations: for benchmarks, which use
// the weights beside the model. Defined for AtenOps and CpuOps.
template <ops::Operations Ops>
absl::StatusOr<typename OlmoeModel<Ops>::Parts> LoadParts(const LoadOptions& options,
                                                          const LoadProgress& progress);

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_LOAD_PARTS_H_
