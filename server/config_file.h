#ifndef OLMOE_SERVER_CONFIG_FILE_H_
#define OLMOE_SERVER_CONFIG_FILE_H_

#include <cstddef>
#include <istream>
#include <map>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"

namespace olmoe {

// The file of --config: a line for each flag, KEY=VALUE. Sets the flags itself while it reads, those
// of the command line excepted, so that what is wrong is told with file and line.
// Thread-compatible.
class ConfigFile final : public CLI::ConfigBase {
 public:
  // `app` outlives it, and has its --config already.
  explicit ConfigFile(CLI::App* app) : app_(app) {}

  // Returns nothing: all is set.
  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override;

 private:
  using Lines = std::map<std::string, size_t>;  // of the keys so far
  void ReadLine(const std::string& line, size_t number, Lines* lines) const;
  void Set(const CLI::ConfigItem& item, size_t number, Lines* lines) const;

  CLI::App* const app_;
};

}  // namespace olmoe

#endif  // OLMOE_SERVER_CONFIG_FILE_H_
