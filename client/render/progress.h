#ifndef OLMOE_CLIENT_RENDER_PROGRESS_H_
#define OLMOE_CLIENT_RENDER_PROGRESS_H_

#include <iosfwd>
#include <string_view>

#include "absl/time/time.h"

namespace olmoe::client::render {

// One line that is written over and over while something takes its time; nothing
// at all where it would not be seen. Removed when it is done. Thread-compatible.
class Progress {
 public:
  // `visible`: `err` is a terminal.
  Progress(std::ostream& err, bool visible) : err_(err), visible_(visible) {}
  ~Progress() { Clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Shown at most ten times a second.
  void Show(std::string_view line);
  void Clear();

 private:
  std::ostream& err_;
  const bool visible_;
  bool shown_ = false;
  absl::Time last_ = absl::InfinitePast();
};

}  // namespace olmoe::client::render

#endif  // OLMOE_CLIENT_RENDER_PROGRESS_H_
