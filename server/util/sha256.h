#ifndef OLMOE_SERVER_UTIL_SHA256_H_
#define OLMOE_SERVER_UTIL_SHA256_H_

#include <cstddef>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace olmoe {

// Computes a SHA-256 part by part (by OpenSSL, which uses the CPU's SHA instructions).
// Thread-compatible.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(const void* data, size_t bytes);
  // Returns the digest as 64 lower-case hex digits. REQUIRES: called once, last.
  std::string HexDigest();

 private:
  evp_md_ctx_st* context_;  // owned
};

// Returns the SHA-256 of `data` as 64 lower-case hex digits.
std::string Sha256Hex(std::string_view data);

}  // namespace olmoe

#endif  // OLMOE_SERVER_UTIL_SHA256_H_
