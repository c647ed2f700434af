#include "server/completions/model_routes.h"

#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "server/completions/completion_request.h"
#include "server/completions/errors.h"
#include "server/completions/json_writer.h"
#include "server/completions/responses.h"
#include "server/routing/controller.h"
#include "server/util/utf8.h"

namespace olmoe::completions {
namespace {

constexpr char kModelsPath[] = "/v1/models";

void WriteModel(std::string_view name, const experiment::Serving& serving, int64_t created,
                JsonWriter* json) {
  json->BeginObject().Key("id").String(name).Key("object").String("model");
  json->Key("created").Integer(created).Key("owned_by").String("olmoe");
  json->Key("max_model_len").Integer(serving.model.max_context).EndObject();
}

std::string ModelsJson(const experiment::Serving& serving, int64_t created) {
  const std::string& id = serving.model.model_id;
  JsonWriter json;
  json.BeginObject().Key("object").String("list").Key("data").BeginArray();
  WriteModel(id, serving, created, &json);
  for (const routing::Arm& arm : serving.controller->slot().Current()->arms()) {
    if (arm.allow_explicit) WriteModel(id + "@" + arm.arm_id, serving, created, &json);
  }
  return json.EndArray().EndObject().Take();
}

// "%2F" is a slash; nothing where the escapes are none.
std::optional<std::string> Decoded(std::string_view path) {
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      out += path[i];
      continue;
    }
    const std::string digits(path.substr(i + 1, 2));
    const bool is_escape = digits.size() == 2 &&
                           absl::ascii_isxdigit(static_cast<unsigned char>(digits[0])) &&
                           absl::ascii_isxdigit(static_cast<unsigned char>(digits[1]));
    if (!is_escape) return std::nullopt;
    out += absl::HexStringToBytes(digits);
    i += 2;
  }
  return out;
}

http::Response ModelResponse(std::string_view path, const experiment::Serving& serving,
                             int64_t created) {
  const std::optional<std::string> name = Decoded(path);
  if (!name || name->empty()) return ErrorResponse(ModelNotFound(path));
  if (auto arm = ArmOfModel(*name, serving); !arm.ok()) return ErrorResponse(arm.status());
  JsonWriter json;
  WriteModel(*name, serving, created, &json);
  return JsonResponse(200, json.Take());
}

}  // namespace

void AddModelRoutes(const experiment::Serving* serving, int64_t created,
                    std::vector<http::Route>* routes) {
  routes->push_back({.method = "GET",
                     .path = kModelsPath,
                     .handler = [serving, created](const http::Request&, http::Reply reply) {
                       reply.Send(JsonResponse(200, ModelsJson(*serving, created)));
                     }});
  const std::string prefix = std::string(kModelsPath) + "/";
  routes->push_back({.method = "GET",
                     .path = prefix,
                     .handler =
                         [serving, created, size = prefix.size()](const http::Request& request,
                                                                  http::Reply reply) {
                           const std::string_view name =
                               std::string_view(request.path).substr(size);
                           reply.Send(ModelResponse(name, *serving, created));
                         },
                     .is_prefix = true});
}

}  // namespace olmoe::completions
