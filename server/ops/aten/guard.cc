#include "server/ops/aten/guard.h"

#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace olmoe::ops {
namespace {

absl::Status FromMessage(std::string_view what) {
  const std::string line(what.substr(0, what.find('\n')));
  // Neither allocator of ATen has an exception type of its own in every version.
  const bool memory = absl::StrContains(line, "out of memory") ||
                      absl::StrContains(line, "not enough memory") ||
                      absl::StrContains(line, "can't allocate memory");
  const std::string message = absl::StrCat("LibTorch: ", line);
  return memory ? absl::ResourceExhaustedError(message) : absl::InternalError(message);
}

}  // namespace

absl::Status RunAten(const std::function<absl::Status()>& body) {
  const c10::InferenceMode inference;
  try {
    return body();
  } catch (const c10::Error& error) {
    return FromMessage(error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const std::exception& error) {  // of the libraries below LibTorch
    return FromMessage(error.what());
  }
}

}  // namespace olmoe::ops
