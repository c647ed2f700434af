#ifndef OLMOE_TESTS_SUPPORT_TEMP_FOLDER_H_
#define OLMOE_TESTS_SUPPORT_TEMP_FOLDER_H_

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "glog/logging.h"
#include "gtest/gtest.h"

namespace olmoe::testing {

// A new empty folder, removed with all it holds at the end of the scope.
// Thread-compatible.
class TempFolder {
 public:
  TempFolder() {
    std::string path = (std::filesystem::path(::testing::TempDir()) / "olmoe-XXXXXX").string();
    CHECK(mkdtemp(path.data()) != nullptr) << path;
    path_ = path;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string File(std::string_view name) const {
    return (std::filesystem::path(path_) / name).string();
  }
  // Writes a file in the folder and gives its path.
  std::string Write(std::string_view name, std::string_view content) const {
    const std::string path = File(name);
    std::ofstream file(path, std::ios::binary);
    file << content;
    CHECK(file.flush()) << path;
    return path;
  }

 private:
  std::string path_;
};

}  // namespace olmoe::testing

#endif  // OLMOE_TESTS_SUPPORT_TEMP_FOLDER_H_
