#include "server/routing/split.h"

#include <bit>
#include <string>

#include "glog/logging.h"

namespace olmoe::routing {
namespace {

constexpr uint32_t Scramble(uint32_t block) {
  return std::rotl(block * 0xCC9E2D51u, 15) * 0x1B873593u;
}

// Little-endian, whatever the machine; up to 4 bytes.
uint32_t LittleEndian(std::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    value |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])) << (8 * i);
  }
  return value;
}

}  // namespace

uint32_t MurmurHash3(std::string_view key, uint32_t seed) {
  uint32_t hash = seed;
  const size_t whole = key.size() / 4 * 4;
  for (size_t i = 0; i < whole; i += 4) {
    hash = std::rotl(hash ^ Scramble(LittleEndian(key.substr(i, 4))), 13) * 5 + 0xE6546B64u;
  }
  if (whole < key.size()) hash ^= Scramble(LittleEndian(key.substr(whole)));
  hash ^= static_cast<uint32_t>(key.size());
  hash = (hash ^ hash >> 16) * 0x85EBCA6Bu;
  hash = (hash ^ hash >> 13) * 0xC2B2AE35u;
  return hash ^ hash >> 16;
}

uint32_t UnitHash(std::string_view salt, std::string_view unit_id) {
  std::string key(salt);
  key += unit_id;
  return MurmurHash3(key, 0);
}

std::optional<uint32_t> TotalWeight(std::span<const uint32_t> weights) {
  uint64_t total = 0;
  for (const uint32_t weight : weights) total += weight;
  if (total < 1 || total > UINT32_MAX) return std::nullopt;
  return static_cast<uint32_t>(total);
}

uint32_t BucketOf(uint32_t hash, uint32_t total_weight) {
  return static_cast<uint32_t>(uint64_t{hash} * total_weight >> 32);
}

size_t ArmOfBucket(std::span<const uint32_t> weights, uint32_t bucket) {
  uint64_t cumulative = 0;
  for (size_t arm = 0; arm < weights.size(); ++arm) {
    cumulative += weights[arm];
    if (cumulative > bucket) return arm;
  }
  LOG(FATAL) << "bucket " << bucket << " is not below the sum of weights " << cumulative;
}

}  // namespace olmoe::routing
