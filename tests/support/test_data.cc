#include "tests/support/test_data.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "glog/logging.h"

namespace olmoe::testing {

std::string SourcePath(const std::string& relative) {
  const char* root = std::getenv("OLMOE_SOURCE_DIR");
  return (std::filesystem::path(root == nullptr ? "." : root) / relative).string();
}

std::string DataPath(const std::string& relative) {
  for (const char* folder : {"tests/data/", "../shared/data/"}) {
    const std::string path = SourcePath(folder + relative);
    if (std::filesystem::exists(path)) return path;
  }
  return "";
}

std::string ReadFileOrDie(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  CHECK(file) << "cannot read " << path;
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

}  // namespace olmoe::testing
