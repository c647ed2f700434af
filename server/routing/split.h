// Sticky split: which arm of an experiment a unit (a user, a session) belongs to.
//
//   hash   = MurmurHash3_x86_32(utf8(salt + unit_id), seed 0)
//   bucket = (hash * W) >> 32, W = sum of the weights
//   arm    = the first one, in plan order, whose cumulative weight exceeds bucket
//
// The product maps the 32-bit hash onto 0..W-1 in equal runs, without the bias and
// the division of hash % W; weights are shares of W, of any granularity up to 2^32.
// A unit stays where it is as long as salt and weights stay; another salt draws all
// units again, so that two experiments are independent. It is the rule of flagd, so
// an outside flag service agrees on every unit. Nothing is put between salt and
// unit id, nothing is normalized, NUL is a byte like any other:
//
//   salt "exp1", unit "alice"   hash 2840277401   bucket 66 of 100
//   arms a: 60, b: 40           66 is not below 60, 66 is below 100: arm b
//
// An arm of weight 0 never gets a unit: its cumulative weight is that of the arm
// before it, which did not exceed the bucket. Cost: one pass over the key. Tested
// against 300 vectors of an independent implementation (tests/routing/split_test.cc).
#ifndef OLMOE_SERVER_ROUTING_SPLIT_H_
#define OLMOE_SERVER_ROUTING_SPLIT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace olmoe::routing {

// MurmurHash3_x86_32 (A. Appleby, public domain).
uint32_t MurmurHash3(std::string_view key, uint32_t seed);

// The hash of a unit.
uint32_t UnitHash(std::string_view salt, std::string_view unit_id);

// Sum of the weights; nullopt outside 1..2^32-1.
std::optional<uint32_t> TotalWeight(std::span<const uint32_t> weights);

// 0..total_weight-1; total_weight >= 1.
uint32_t BucketOf(uint32_t hash, uint32_t total_weight);

// Index of the arm that holds `bucket`, which is below the sum of the weights.
size_t ArmOfBucket(std::span<const uint32_t> weights, uint32_t bucket);

}  // namespace olmoe::routing

#endif  // OLMOE_SERVER_ROUTING_SPLIT_H_
