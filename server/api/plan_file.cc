#include "server/api/plan_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "olmoe/v1/admin.pb.h"
#include "server/api/request_errors.h"
#include "server/api/routing_proto.h"
#include "server/util/sha256.h"

namespace olmoe::api {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;

// protobuf shows the place of an error on lines of their own.
std::string OneLine(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string content(kMaxBytes + 1, '\0');
  file.read(content.data(), static_cast<std::streamsize>(content.size()));
  if (!file.is_open() || file.bad() || (file.fail() && !file.eof())) {
    return absl::UnavailableError(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  content.resize(static_cast<size_t>(file.gcount()));
  if (content.size() > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is larger than 1 MiB"));
  }
  return content;
}

}  // namespace

absl::StatusOr<routing::PlanFile> ReadPlanFile(const std::string& path) {
  const absl::StatusOr<std::string> content = ReadFile(path);
  if (!content.ok()) return content.status();
  v1::RoutingPlan plan;
  const auto parsed = google::protobuf::util::JsonStringToMessage(*content, &plan);
  if (!parsed.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": is not a RoutingPlan in JSON: ", OneLine(std::string(parsed.message()))));
  }
  RequestErrors errors;
  routing::PlanFile file;
  file.spec = ToPlanSpec(plan, "plan", &errors);
  file.digest = Sha256Hex(*content);
  if (!errors.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", std::string(errors.ToStatus().message())));
  }
  return file;
}

}  // namespace olmoe::api
