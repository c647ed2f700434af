#include "server/completions/tokenizer_routes.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/api/request_errors.h"
#include "server/api/request_fields.h"
#include "server/completions/completion_request.h"
#include "server/completions/errors.h"
#include "server/completions/json_writer.h"
#include "server/completions/responses.h"
#include "server/text/tokenizer.h"
#include "server/util/file_errors.h"
#include "server/util/json_cursor.h"

namespace olmoe::completions {
namespace {

constexpr JsonLimits kLimits = {.max_depth = 8, .max_values = 1 << 21};

using JsonOr = absl::StatusOr<std::string>;
using Answer = JsonOr (*)(const std::string& body, const experiment::Serving& serving,
                          const Interrupt& interrupt);

// Calls `read` for each field that is not null, with whether the name was known.
absl::Status ReadFields(
    const std::string& body,
    absl::FunctionRef<bool(const std::string& name, const JsonCursor& value)> read) {
  absl::Status wrong;
  absl::Status status = ReadJson(body, kLimits, [&](const JsonCursor& root) {
    root.ForEachField([&](const std::string& name, const JsonCursor& value) {
      if (value.IsNull() || !wrong.ok()) return;
      constexpr size_t kMaxShownBytes = 64;
      absl::Status mistake;
      if (!read(name, value.WithStatus(&mistake))) {
        wrong =
            FieldError(Printable(name.substr(0, kMaxShownBytes)), "is not a field of this server");
      } else if (!mistake.ok()) {
        wrong = InvalidFields({ViolationOf(name, mistake)});
      }
    });
  });
  if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat("the body: ", status.message()));
  return wrong;
}

JsonOr Tokenize(const std::string& body, const experiment::Serving& serving,
                const Interrupt& interrupt) {
  std::optional<std::string> prompt;
  std::string model;
  bool add_special_tokens = true, with_texts = false;
  absl::Status status = ReadFields(body, [&](const std::string& name, const JsonCursor& value) {
    if (name == "prompt") {
      prompt = value.String();
    } else if (name == "model") {
      model = value.String();
    } else if (name == "add_special_tokens") {
      add_special_tokens = value.Bool();
    } else if (name == "return_token_strs") {
      with_texts = value.Bool();
    } else {
      return false;
    }
    return true;
  });
  if (!status.ok()) return status;
  if (auto arm = ArmOfModel(model, serving); !arm.ok()) return arm.status();
  if (!prompt) return FieldError("prompt", "must be set");
  api::RequestErrors errors;
  const std::vector<TokenId> tokens =
      api::EncodeText(*prompt, "prompt", add_special_tokens, serving, &errors, interrupt);
  if (!errors.empty()) return errors.ToStatus();

  JsonWriter json;
  json.BeginObject().Key("count").Integer(static_cast<int64_t>(tokens.size()));
  json.Key("max_model_len").Integer(serving.model.max_context).Key("tokens").BeginArray();
  for (const TokenId token : tokens) json.Integer(token);
  json.EndArray().Key("token_strs");
  if (!with_texts) return json.Null().EndObject().Take();
  json.BeginArray();
  for (const TokenId token : tokens) json.String(serving.tokenizer->TokenBytes(token));
  return json.EndArray().EndObject().Take();
}

JsonOr Detokenize(const std::string& body, const experiment::Serving& serving,
                  const Interrupt& interrupt) {
  google::protobuf::RepeatedField<uint32_t> ids;
  std::string model;
  bool has_tokens = false;
  absl::Status status = ReadFields(body, [&](const std::string& name, const JsonCursor& value) {
    if (name == "model") {
      model = value.String();
      return true;
    }
    if (name != "tokens") return false;
    has_tokens = true;
    value.ForEach([&](const JsonCursor& id) {
      ids.Add(static_cast<uint32_t>(id.Unsigned(0, std::numeric_limits<uint32_t>::max())));
    });
    return true;
  });
  if (!status.ok()) return status;
  if (auto arm = ArmOfModel(model, serving); !arm.ok()) return arm.status();
  if (!has_tokens) return FieldError("tokens", "must be set");
  api::RequestErrors errors;
  const std::vector<TokenId> tokens = api::ParseTokenIds(ids, "tokens", serving, &errors);
  errors.Add(api::RequireTokenizer(serving, "prompt"));
  if (!errors.empty()) return errors.ToStatus();
  if (absl::Status fits = api::CheckTextFits(tokens, serving); !fits.ok()) return fits;
  JsonWriter json;
  json.BeginObject().Key("prompt");
  json.String(serving.tokenizer->Decode(tokens, /*skip_special_tokens=*/false));
  return json.EndObject().Take();
}

// The text of a special token by its id, or null.
void WriteToken(const char* name, const std::optional<int64_t>& id,
                const text::Tokenizer& tokenizer, JsonWriter* json) {
  json->Key(name);
  std::string_view text;
  if (id && *id >= 0 && *id <= std::numeric_limits<TokenId>::max()) {
    text = tokenizer.TokenBytes(static_cast<TokenId>(*id));
  }
  text.empty() ? json->Null() : json->String(text);
}

// No template: chats are not rendered here.
http::Response TokenizerInfo(const experiment::Serving& serving) {
  if (absl::Status status = api::RequireTokenizer(serving, "tokenizer_info"); !status.ok()) {
    return ErrorResponse(absl::NotFoundError(status.message()));
  }
  JsonWriter json;
  json.BeginObject();
  WriteToken("eos_token", serving.model.eos_token_id, *serving.tokenizer, &json);
  WriteToken("bos_token", std::nullopt, *serving.tokenizer, &json);
  WriteToken("pad_token", serving.model.pad_token_id, *serving.tokenizer, &json);
  json.Key("vocab_size").Integer(serving.model.vocab_size);
  json.Key("model_max_length").Integer(serving.model.max_context);
  return JsonResponse(200, json.EndObject().Take());
}

// A body and the answer that a worker makes of it.
struct Work {
  std::string body;
  http::Reply reply;
  limits::RequestMemory::Hold hold;
  std::stop_source stop;
};

void Begin(const CallContext* context, Answer answer, http::Request request, http::Reply reply) {
  const std::string client = ClientOf(request, context->behind_proxy);
  const auto work =
      std::make_shared<Work>(Work{std::move(request.body), std::move(reply),
                                  context->limits->memory().Open(client), std::stop_source()});
  const int64_t bytes = static_cast<int64_t>(work->body.size());
  if (absl::Status status = work->hold.Resize(kCallBytes + bytes * (1 + kPreparingBytes));
      !status.ok()) {
    return work->reply.Send(ErrorResponse(status));
  }
  work->reply.OnGone([stop = work->stop]() mutable { stop.request_stop(); });
  context->preparing->Run(
      {.client = client,
       .interrupt = {.stop = work->stop.get_token()},
       .run =
           [context, answer, work] {
             const JsonOr json =
                 answer(work->body, *context->serving, {.stop = work->stop.get_token()});
             work->reply.Send(json.ok() ? JsonResponse(200, *json) : ErrorResponse(json.status()));
           },
       .refuse = [work](const absl::Status& why) { work->reply.Send(ErrorResponse(why)); }});
}

}  // namespace

void AddTokenizerRoutes(const CallContext* context, size_t max_body_bytes,
                        std::vector<http::Route>* routes) {
  const std::pair<const char*, Answer> answers[] = {{"/tokenize", Tokenize},
                                                    {"/detokenize", Detokenize}};
  for (const auto& [path, answer] : answers) {
    routes->push_back({.method = "POST",
                       .path = path,
                       .handler =
                           [context, answer = answer](http::Request request, http::Reply reply) {
                             Begin(context, answer, std::move(request), std::move(reply));
                           },
                       .max_body_bytes = max_body_bytes});
  }
  routes->push_back({.method = "GET",
                     .path = "/tokenizer_info",
                     .handler = [context](const http::Request&, http::Reply reply) {
                       reply.Send(TokenizerInfo(*context->serving));
                     }});
}

}  // namespace olmoe::completions
