// Routers of one's own: weights that rows of a policy use in place of the model's.
#ifndef OLMOE_SERVER_ROUTING_ROUTER_H_
#define OLMOE_SERVER_ROUTING_ROUTER_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/routing/named_set.h"
#include "server/util/dtype.h"
#include "server/util/status_details.h"

namespace olmoe::routing {

// The router weights of one layer, [num_experts][hidden_size] row-major, in their shortest exact
// form: bfloat16 where that holds every value, else float32. So the same values are the same bytes,
// in whichever type they came. Immutable: thread-safe.
class RouterWeights {
 public:
  RouterWeights() = default;
  explicit RouterWeights(std::span<const float> values);
  // Little-endian values of a type that is kFloat32 or kBFloat16. REQUIRES: whole values.
  static RouterWeights FromBytes(DType dtype, std::string_view bytes);

  std::vector<float> Values() const;
  size_t num_values() const { return bytes_.size() / DTypeBytes(dtype_); }
  DType dtype() const { return dtype_; }  // kFloat32 or kBFloat16
  const std::string& bytes() const { return bytes_; }  // little-endian

 private:
  DType dtype_ = DType::kBFloat16;
  std::string bytes_;
};

// What a model has made of the weights of a router. Immutable: thread-safe.
class PreparedRouter {
 public:
  virtual ~PreparedRouter() = default;
};

// Named weights of some layers of one model. Immutable: thread-safe.
class Router {
 public:
  static constexpr char kKind[] = "router";
  static constexpr char kContent[] = "weights";

  struct Options {
    std::string router_id;                // [a-z0-9][a-z0-9._-]{0,63}
    std::map<int, RouterWeights> layers;  // by layer, at least one; finite
    // By the model that is to run it. Null: policies may name it, but no step may run them.
    std::shared_ptr<const PreparedRouter> prepared = nullptr;
  };
  // Errors: INVALID_ARGUMENT with one violation per field.
  static absl::StatusOr<std::shared_ptr<const Router>> Create(Options options);

  const std::string& router_id() const { return options_.router_id; }
  const std::string& name() const { return options_.router_id; }
  const std::map<int, RouterWeights>& layers() const { return options_.layers; }
  bool has_layer(int layer) const { return options_.layers.contains(layer); }
  const PreparedRouter* prepared() const { return options_.prepared.get(); }
  // Every layer is one of 0 .. num_layers - 1 and has that many values.
  bool Fits(int num_layers, size_t values_of_layer) const;
  // What it holds as it is kept, without what a model made of it.
  size_t bytes() const;
  // SHA-256 over, by layer, its number as uint32 and its values as float32, little-endian: equal
  // values, equal digest, whatever they were uploaded as. Lower-case hex.
  const std::string& digest() const { return digest_; }

 private:
  explicit Router(Options options);

  const Options options_;
  const std::string digest_;
};

// The index of the first value that is NaN or infinite; -1: there is none.
int64_t FirstNonFinite(std::span<const float> values);

// The routers of a server, beside the model's own. Thread-safe.
class RouterSet : public NamedSet<Router> {
 public:
  using NamedSet::NamedSet;
};

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_ROUTER_H_
