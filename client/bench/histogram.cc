#include "client/bench/histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

namespace olmoe::client::bench {
namespace {

constexpr int kBits = 10;
constexpr size_t kBucketsPerOctave = size_t{1} << kBits;

// Values below 2 * 1024 ns have a bucket each; from there on an octave has 1024.
int ShiftOf(uint64_t ns) { return std::max(0, static_cast<int>(std::bit_width(ns)) - (kBits + 1)); }

size_t BucketOf(uint64_t ns) {
  const int shift = ShiftOf(ns);
  return kBucketsPerOctave * static_cast<size_t>(shift) + (ns >> shift);
}

// The middle of a bucket.
int64_t ValueOf(size_t bucket) {
  if (bucket < 2 * kBucketsPerOctave) return static_cast<int64_t>(bucket);
  const size_t shift = bucket / kBucketsPerOctave - 1;
  const uint64_t low = (bucket - shift * kBucketsPerOctave) << shift;
  return static_cast<int64_t>(low + (uint64_t{1} << shift) / 2);
}

}  // namespace

void Histogram::Add(absl::Duration value, uint64_t count) {
  if (count == 0) return;
  const int64_t ns = std::max<int64_t>(0, absl::ToInt64Nanoseconds(value));
  const size_t bucket = BucketOf(static_cast<uint64_t>(ns));
  if (bucket >= buckets_.size()) buckets_.resize(bucket + 1);
  buckets_[bucket] += count;
  min_ = count_ == 0 ? ns : std::min(min_, ns);
  max_ = std::max(max_, ns);
  count_ += count;
  sum_ += static_cast<double>(ns) * static_cast<double>(count);
}

void Histogram::Merge(const Histogram& other) {
  if (other.count_ == 0) return;
  if (other.buckets_.size() > buckets_.size()) buckets_.resize(other.buckets_.size());
  for (size_t i = 0; i < other.buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  count_ += other.count_;
  sum_ += other.sum_;
}

absl::Duration Histogram::Mean() const {
  return count_ == 0 ? absl::ZeroDuration() : absl::Nanoseconds(sum_ / static_cast<double>(count_));
}

absl::Duration Histogram::Quantile(double quantile) const {
  if (count_ == 0) return absl::ZeroDuration();
  const double rank = std::ceil(quantile * static_cast<double>(count_));
  const uint64_t wanted = std::clamp<uint64_t>(static_cast<uint64_t>(rank), 1, count_);
  uint64_t seen = 0;
  size_t bucket = 0;
  while ((seen += buckets_[bucket]) < wanted) ++bucket;
  return absl::Nanoseconds(std::clamp(ValueOf(bucket), min_, max_));
}

}  // namespace olmoe::client::bench
