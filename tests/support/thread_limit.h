#ifndef OLMOE_TESTS_SUPPORT_THREAD_LIMIT_H_
#define OLMOE_TESTS_SUPPORT_THREAD_LIMIT_H_

#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <system_error>

#include "glog/logging.h"
#include "gtest/gtest.h"

namespace olmoe::testing {

// Sanitizers end the process themselves where a thread cannot be made.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadsCanFail = false;
#elif defined(__has_feature)
inline constexpr bool kThreadsCanFail =
    !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer);
#else
inline constexpr bool kThreadsCanFail = true;
#endif

// For a death test: runs `make` where there is memory for the stacks of `threads` more
// threads and a half, and ends the process with 0 if it throws that there are no more.
[[noreturn]] inline void ExitWhereThreadsEnd(int threads, const std::function<void()>& make) {
  rlimit stack;
  CHECK_EQ(getrlimit(RLIMIT_STACK, &stack), 0);
  rlim_t size, ignored, data;  // of /proc/self/statm, in pages
  std::ifstream statm("/proc/self/statm");
  CHECK(statm >> size >> ignored >> ignored >> ignored >> ignored >> data);
  CHECK_NE(stack.rlim_cur, RLIM_INFINITY) << "the size of a thread's stack is not known";
  rlimit limit;
  limit.rlim_cur = limit.rlim_max = data * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) +
                                    stack.rlim_cur * threads + stack.rlim_cur / 2;
  CHECK_EQ(setrlimit(RLIMIT_DATA, &limit), 0);
  try {
    make();
  } catch (const std::system_error& error) {
    _exit(error.code() == std::errc::resource_unavailable_try_again ? 0 : 1);
  }
  _exit(2);
}

}  // namespace olmoe::testing

#endif  // OLMOE_TESTS_SUPPORT_THREAD_LIMIT_H_
