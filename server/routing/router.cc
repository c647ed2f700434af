#include "server/routing/router.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/routing/field_checks.h"
#include "server/util/bfloat16.h"
#include "server/util/sha256.h"

namespace olmoe::routing {
namespace {

static_assert(std::endian::native == std::endian::little, "weights are little-endian");

std::string DigestOf(const std::map<int, RouterWeights>& layers) {
  Sha256 sha256;
  for (const auto& [layer, weights] : layers) {
    const uint32_t number = static_cast<uint32_t>(layer);
    sha256.Update(&number, sizeof(number));
    const std::vector<float> values = weights.Values();
    sha256.Update(values.data(), values.size() * sizeof(float));
  }
  return sha256.HexDigest();
}

bool IsBf16(float value) { return (std::bit_cast<uint32_t>(value) & 0xffff) == 0; }

}  // namespace

RouterWeights::RouterWeights(std::span<const float> values) {
  if (!std::all_of(values.begin(), values.end(), IsBf16)) {
    dtype_ = DType::kFloat32;
    bytes_.resize(values.size_bytes());
    if (!values.empty()) std::memcpy(bytes_.data(), values.data(), values.size_bytes());
    return;
  }
  bytes_.resize(values.size() * sizeof(uint16_t));
  char* to = bytes_.data();
  for (const float value : values) {
    const uint16_t bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(value) >> 16);
    std::memcpy(to, &bits, sizeof(bits));
    to += sizeof(bits);
  }
}

RouterWeights RouterWeights::FromBytes(DType dtype, std::string_view bytes) {
  CHECK(dtype == DType::kFloat32 || dtype == DType::kBFloat16);
  CHECK_EQ(bytes.size() % DTypeBytes(dtype), 0u);
  RouterWeights as_given;
  as_given.dtype_ = dtype;
  as_given.bytes_ = bytes;
  if (dtype == DType::kBFloat16) return as_given;
  return RouterWeights(as_given.Values());
}

std::vector<float> RouterWeights::Values() const {
  std::vector<float> values(num_values());
  if (dtype_ == DType::kFloat32) {
    if (!values.empty()) std::memcpy(values.data(), bytes_.data(), bytes_.size());
    return values;
  }
  const char* from = bytes_.data();
  for (float& value : values) {
    uint16_t bits;
    std::memcpy(&bits, from, sizeof(bits));
    from += sizeof(bits);
    value = FloatFromBf16(bits);
  }
  return values;
}

int64_t FirstNonFinite(std::span<const float> values) {
  const auto found =
      std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  return found == values.end() ? -1 : found - values.begin();
}

absl::StatusOr<std::shared_ptr<const Router>> Router::Create(Options options) {
  std::vector<FieldViolation> violations;
  CheckLongName(options.router_id, "router_id", &violations);
  if (options.layers.empty()) violations.push_back({"layers", "must have at least one layer"});
  for (const auto& [layer, weights] : options.layers) {
    const std::string field = absl::StrCat("layers[", layer, "]");
    if (layer < 0) violations.push_back({field, "must not be negative"});
    if (FirstNonFinite(weights.Values()) >= 0) violations.push_back({field, "must be finite"});
  }
  if (!violations.empty()) return InvalidFields(violations);
  return std::shared_ptr<const Router>(new Router(std::move(options)));
}

Router::Router(Options options)
    : options_(std::move(options)), digest_(DigestOf(options_.layers)) {}

bool Router::Fits(int num_layers, size_t values_of_layer) const {
  return std::all_of(layers().begin(), layers().end(), [&](const auto& layer) {
    return layer.first < num_layers && layer.second.num_values() == values_of_layer;
  });
}

size_t Router::bytes() const {
  size_t bytes = 0;
  for (const auto& [layer, weights] : layers()) bytes += weights.bytes().size();
  return bytes;
}

}  // namespace olmoe::routing
