// Routers as safetensors, both ways: what `router export` and `router get` write, and what
// `router put` reads.
#ifndef OLMOE_CLIENT_NOTATION_ROUTER_FILE_H_
#define OLMOE_CLIENT_NOTATION_ROUTER_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::notation {

// What the routers of a model are.
struct RouterFileShape {
  int64_t num_layers = 0;
  int64_t num_experts = 0;
  int64_t hidden_size = 0;
};

// The tensors model.layers.N.mlp.gate.weight, [num_experts, hidden_size] in float32, bfloat16 or
// float16, of a safetensors file or of a checkpoint folder, ascending by layer; other tensors are
// not looked at. float16 becomes float32, which holds every value of it. Errors name the file:
// INVALID_ARGUMENT with every such tensor that is wrong, or where there is none; those of reading.
absl::StatusOr<std::vector<v1::RouterLayer>> ReadRouterFile(const std::string& path,
                                                            const RouterFileShape& shape);

// A safetensors file with those names. REQUIRES: the layers are a server's, of that shape.
absl::Status WriteRouterFile(const std::string& path, const std::vector<v1::RouterLayer>& layers,
                             const RouterFileShape& shape);

}  // namespace olmoe::client::notation

#endif  // OLMOE_CLIENT_NOTATION_ROUTER_FILE_H_
