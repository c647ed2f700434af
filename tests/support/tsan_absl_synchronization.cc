// Tells ThreadSanitizer about absl::Mutex and absl::Notification. A packaged libabsl is not built with
// -fsanitize=thread, so TSan does not see its locks and would report a race for
// everything that they guard. The executable's definitions below win over those of
// the shared library; each calls the library's own and says what it means: Lock
// acquires, Unlock releases; Notify releases and a wait for it acquires, also a wait that
// comes late and takes no lock. What the library does inside is not examined either: its
// deadlock detector, on where it is built without NDEBUG, copies with memmove, which
// TSan sees, under a lock that TSan does not. Conditions run inside the library, under
// the lock but on any thread that gives it up, so accesses in there are not examined.
//
// Compiled into every test of the `tsan` preset (tests/support/CMakeLists.txt).
// Only what the project uses is here: a test that calls another function that locks
// or waits sees false races, never misses one silently.
#include <dlfcn.h>

#include <string>
#include <typeinfo>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "glog/logging.h"

extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}

namespace {

struct IgnoreAccesses {
  IgnoreAccesses() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~IgnoreAccesses() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};

// The library's member of a class of Abseil: `prefix`, the class and `member` are its
// mangled name. Abseil's inline namespace differs between builds; typeid knows it.
template <typename Function, typename Class = absl::Mutex>
Function* Library(const char* member, const char* prefix = "_ZN") {
  const std::string type = typeid(Class).name();  // "N4absl...5MutexE"
  std::string name = prefix + type.substr(1, type.size() - 2) + member;
  void* symbol = dlsym(RTLD_NEXT, name.c_str());
  CHECK(symbol != nullptr) << name << " is not in a shared library";
  return reinterpret_cast<Function*>(symbol);
}

// Mangled parameter types of absl::Condition, absl::Duration and absl::Time refer
// back to the inline namespace as S0_.
constexpr char kLockWhen[] = "8LockWhenERKNS0_9ConditionE";
constexpr char kAwait[] = "5AwaitERKNS0_9ConditionE";
constexpr char kAwaitWithTimeout[] = "16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE";
constexpr char kAwaitWithDeadline[] = "17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE";
constexpr char kWaitWithTimeout[] = "30WaitForNotificationWithTimeoutENS0_8DurationE";
constexpr char kConstMember[] = "_ZNK";

using LockFunction = void(absl::Mutex*);

}  // namespace

// The deadlock detector forgets the mutex here.
absl::Mutex::~Mutex() {
  static LockFunction* const library = Library<LockFunction>("D1Ev");
  IgnoreAccesses ignore;
  library(this);
}

void absl::Mutex::Lock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  static LockFunction* const library = Library<LockFunction>("4LockEv");
  {
    IgnoreAccesses ignore;
    library(this);
  }
  __tsan_acquire(this);
}

void absl::Mutex::ReaderLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  static LockFunction* const library = Library<LockFunction>("10ReaderLockEv");
  {
    IgnoreAccesses ignore;
    library(this);
  }
  __tsan_acquire(this);
}

bool absl::Mutex::TryLock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  static auto* const library = Library<bool(Mutex*)>("7TryLockEv");
  {
    IgnoreAccesses ignore;
    if (!library(this)) return false;
  }
  __tsan_acquire(this);
  return true;
}

void absl::Mutex::Unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  static LockFunction* const library = Library<LockFunction>("6UnlockEv");
  __tsan_release(this);
  IgnoreAccesses ignore;
  library(this);
}

void absl::Mutex::ReaderUnlock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  static LockFunction* const library = Library<LockFunction>("12ReaderUnlockEv");
  __tsan_release(this);
  IgnoreAccesses ignore;
  library(this);
}

void absl::Mutex::LockWhen(const Condition& condition) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  static auto* const library = Library<void(Mutex*, const Condition&)>(kLockWhen);
  {
    IgnoreAccesses ignore;
    library(this, condition);
  }
  __tsan_acquire(this);
}

void absl::Mutex::Await(const Condition& condition) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  static auto* const library = Library<void(Mutex*, const Condition&)>(kAwait);
  __tsan_release(this);
  {
    IgnoreAccesses ignore;
    library(this, condition);
  }
  __tsan_acquire(this);
}

bool absl::Mutex::AwaitWithTimeout(const Condition& condition,
                                   Duration timeout) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  static auto* const library = Library<bool(Mutex*, const Condition&, Duration)>(kAwaitWithTimeout);
  __tsan_release(this);
  bool held;
  {
    IgnoreAccesses ignore;
    held = library(this, condition, timeout);
  }
  __tsan_acquire(this);
  return held;
}

bool absl::Mutex::AwaitWithDeadline(const Condition& condition,
                                    Time deadline) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  static auto* const library = Library<bool(Mutex*, const Condition&, Time)>(kAwaitWithDeadline);
  __tsan_release(this);
  bool held;
  {
    IgnoreAccesses ignore;
    held = library(this, condition, deadline);
  }
  __tsan_acquire(this);
  return held;
}

void absl::Notification::Notify() {
  static auto* const library = Library<void(Notification*), Notification>("6NotifyEv");
  __tsan_release(this);
  library(this);
}

void absl::Notification::WaitForNotification() const {
  static auto* const library =
      Library<void(const Notification*), Notification>("19WaitForNotificationEv", kConstMember);
  library(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool absl::Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  static auto* const library =
      Library<bool(const Notification*, Duration), Notification>(kWaitWithTimeout, kConstMember);
  const bool notified = library(this, timeout);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}
