// Tells ThreadSanitizer about the reference count of absl::Status: counted up in the
// header, which TSan sees, and down in libabsl, which it does not (see
// tsan_absl_synchronization.cc), so the last owner's delete would seem to race with what others
// did before they let go. The executable's definition wins over the library's and is
// the same code, where TSan sees it.
#include "absl/status/status.h"

void absl::Status::UnrefNonInlined(uintptr_t rep) {
  status_internal::StatusRep* const counted = RepToPointer(rep);
  if (counted->ref.load(std::memory_order_acquire) == 1 ||
      counted->ref.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    delete counted;
  }
}
