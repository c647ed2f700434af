#include "client/render/progress.h"

#include <ostream>

#include "absl/time/clock.h"

namespace olmoe::client::render {
namespace {
constexpr std::string_view kEraseLine = "\r\x1b[K";
}  // namespace

void Progress::Show(std::string_view line) {
  if (!visible_) return;
  const absl::Time now = absl::Now();
  if (now - last_ < absl::Milliseconds(100)) return;
  last_ = now;
  shown_ = true;
  err_ << kEraseLine << line << std::flush;
}

void Progress::Clear() {
  if (!shown_) return;
  shown_ = false;
  err_ << kEraseLine << std::flush;
}

}  // namespace olmoe::client::render
