#include "server/completions/completion_request.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "server/api/generate_request.h"
#include "server/api/request_errors.h"
#include "server/api/request_fields.h"
#include "server/completions/errors.h"
#include "server/completions/json_writer.h"
#include "server/routing/controller.h"
#include "server/util/file_errors.h"
#include "server/util/json_cursor.h"

namespace olmoe::completions {
namespace {

constexpr uint32_t kDefaultMaxTokens = 16;
// Of a policy, inside routing; and the ids of all prompts.
constexpr JsonLimits kLimits = {.max_depth = 64, .max_values = 1 << 21};
constexpr int kMaxErrors = 16;
constexpr size_t kMaxShownBytes = 64;

// What the fields of the JSON are read into.
struct Draft {
  CompletionRequest call;
  v1::GenerateRequest common;  // of all prompts, without any
  std::vector<v1::GenerateRequest> prompts;  // nothing but the prompt
  bool has_prompt_list = false;
  std::string model;
  std::optional<uint64_t> best_of;
  bool has_stream_options = false;
};

uint32_t Unsigned32(const JsonCursor& value) {
  return static_cast<uint32_t>(value.Unsigned(0, std::numeric_limits<uint32_t>::max()));
}

void ReadIds(const JsonCursor& ids, v1::GenerateRequest* prompt) {
  auto* out = prompt->mutable_tokens()->mutable_ids();
  out->Reserve(static_cast<int>(ids.size()));
  ids.ForEach([out](const JsonCursor& id) { out->Add(Unsigned32(id)); });
}

// One of the four forms; the first element tells the lists apart.
void ReadPrompt(const JsonCursor& value, Draft* draft) {
  if (value.IsString()) {
    draft->prompts.emplace_back().set_text(value.String());
    return;
  }
  if (!value.IsArray()) {
    return value.Fail(
        absl::StrCat("must be a string or a list of strings, of ids or of lists of "
                     "ids, is ",
                     value.Shown()));
  }
  std::optional<bool> is_ids;
  bool is_text = false;
  value.ForEach([&](const JsonCursor& element) {
    if (!is_ids) is_text = element.IsString();
    if (!is_ids) is_ids = element.IsNumber();
  });
  if (is_ids.value_or(false)) return ReadIds(value, &draft->prompts.emplace_back());
  draft->has_prompt_list = true;
  if (value.size() < 1 || value.size() > kMaxPrompts) {
    return value.Fail(absl::StrCat("must have 1..", kMaxPrompts, " prompts, has ", value.size()));
  }
  value.ForEach([&](const JsonCursor& element) {
    v1::GenerateRequest& prompt = draft->prompts.emplace_back();
    if (element.IsString() != is_text) {
      element.Fail("must be of the kind of the first prompt");
    } else if (is_text) {
      prompt.set_text(element.String());
    } else {
      ReadIds(element, &prompt);
    }
  });
}

void ReadStop(const JsonCursor& value, v1::GenerateRequest* common) {
  if (value.IsString()) return common->add_stop(value.String());
  value.ForEach([common](const JsonCursor& stop) { common->add_stop(stop.String()); });
}

void ReadLogitBias(const JsonCursor& value, v1::SamplingParams* sampling) {
  value.ForEachField([&](const std::string& key, const JsonCursor& bias) {
    uint32_t token = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size()) {
      return bias.Fail("the name must be a token id");
    }
    if (!sampling->mutable_logit_bias()->insert({token, bias.Number()}).second) {
      bias.Fail("names a token twice");
    }
  });
}

// Any integer of 64 bits; a negative one is taken for what it is without its sign's meaning.
uint64_t Seed(const JsonCursor& value) {
  absl::Status is_not_signed;
  const int64_t seed =
      value.WithStatus(&is_not_signed)
          .Integer(std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
  if (is_not_signed.ok()) return static_cast<uint64_t>(seed);
  absl::Status is_not_unsigned;
  const uint64_t unsigned_seed = value.WithStatus(&is_not_unsigned).Unsigned();
  if (!is_not_unsigned.ok()) {
    value.Fail(absl::StrCat("must be an integer of 64 bits, is ", value.Shown()));
  }
  return unsigned_seed;
}

void AppendJson(const JsonCursor& value, JsonWriter* json) {
  if (value.IsArray()) {
    json->BeginArray();
    value.ForEach([json](const JsonCursor& element) { AppendJson(element, json); });
    json->EndArray();
  } else if (value.IsObject()) {
    json->BeginObject();
    value.ForEachField([json](const std::string& key, const JsonCursor& field) {
      AppendJson(field, &json->Key(key));
    });
    json->EndObject();
  } else if (value.IsString()) {
    json->String(value.String());
  } else if (value.IsNumber()) {
    absl::Status is_not_unsigned;
    const uint64_t integer = value.WithStatus(&is_not_unsigned).Unsigned();
    char text[32];
    const auto [end, error] = is_not_unsigned.ok()
                                  ? std::to_chars(text, text + sizeof(text), integer)
                                  : std::to_chars(text, text + sizeof(text), value.Number());
    json->Raw({text, static_cast<size_t>(end - text)});
  } else if (value.IsNull()) {
    json->Null();
  } else {
    json->Bool(value.Bool());
  }
}

// The message that the value is the JSON of.
void ReadMessage(const JsonCursor& value, google::protobuf::Message* message) {
  JsonWriter json;
  AppendJson(value, &json);
  const auto status = google::protobuf::util::JsonStringToMessage(json.Take(), message);
  if (!status.ok()) value.Fail(std::string(status.message()));
}

void ReadRouting(const JsonCursor& value, v1::RoutingSelector* routing) {
  value.AllowOnly({"arm", "policy", "replay"});
  int num_choices = 0;
  for (const char* name : {"arm", "policy", "replay"}) {
    const JsonCursor field = value[name];
    if (field.IsNull()) continue;
    if (++num_choices > 1) return value.Fail("must have at most one of arm, policy and replay");
    if (name == std::string_view("arm")) {
      routing->set_arm_id(field.String());
    } else if (name == std::string_view("policy")) {
      ReadMessage(field, routing->mutable_policy());
    } else {
      ReadMessage(field, routing->mutable_replay());
    }
  }
}

void ReadStreamOptions(const JsonCursor& value, Draft* draft) {
  value.AllowOnly({"include_usage"});
  draft->has_stream_options = true;
  draft->call.include_usage = value["include_usage"].BoolOr(false);
}

struct Field {
  std::string_view name;
  void (*read)(const JsonCursor& value, Draft* draft);
};

constexpr Field kFields[] = {
    {"model", [](const JsonCursor& v, Draft* d) { d->model = v.String(); }},
    {"prompt", ReadPrompt},
    {"max_tokens",
     [](const JsonCursor& v, Draft* d) { d->common.set_max_new_tokens(Unsigned32(v)); }},
    {"temperature", [](const JsonCursor& v,
                       Draft* d) { d->common.mutable_sampling()->set_temperature(v.Number()); }},
    {"top_p",
     [](const JsonCursor& v, Draft* d) { d->common.mutable_sampling()->set_top_p(v.Number()); }},
    {"top_k",
     [](const JsonCursor& v, Draft* d) {
       // -1 is vLLM's word for all of them.
       const int64_t top_k = v.Integer(-1, std::numeric_limits<uint32_t>::max());
       d->common.mutable_sampling()->set_top_k(static_cast<uint32_t>(std::max<int64_t>(top_k, 0)));
     }},
    {"min_p",
     [](const JsonCursor& v, Draft* d) { d->common.mutable_sampling()->set_min_p(v.Number()); }},
    {"repetition_penalty",
     [](const JsonCursor& v, Draft* d) {
       d->common.mutable_sampling()->set_repetition_penalty(v.Number());
     }},
    {"presence_penalty",
     [](const JsonCursor& v, Draft* d) {
       d->common.mutable_sampling()->set_presence_penalty(v.Number());
     }},
    {"frequency_penalty",
     [](const JsonCursor& v, Draft* d) {
       d->common.mutable_sampling()->set_frequency_penalty(v.Number());
     }},
    {"logit_bias",
     [](const JsonCursor& v, Draft* d) { ReadLogitBias(v, d->common.mutable_sampling()); }},
    {"seed",
     [](const JsonCursor& v, Draft* d) { d->common.mutable_sampling()->set_seed(Seed(v)); }},
    {"n", [](const JsonCursor& v, Draft* d) { d->common.set_n(Unsigned32(v)); }},
    {"best_of", [](const JsonCursor& v, Draft* d) { d->best_of = Unsigned32(v); }},
    {"suffix", [](const JsonCursor& v, Draft*) { v.Fail("is not supported: leave it out"); }},
    {"stop", [](const JsonCursor& v, Draft* d) { ReadStop(v, &d->common); }},
    {"stop_token_ids",
     [](const JsonCursor& v, Draft* d) {
       v.ForEach([d](const JsonCursor& id) { d->common.add_stop_token_ids(Unsigned32(id)); });
     }},
    {"ignore_eos", [](const JsonCursor& v, Draft* d) { d->common.set_ignore_eos(v.Bool()); }},
    {"include_stop_str_in_output",
     [](const JsonCursor& v, Draft* d) { d->common.set_include_stop(v.Bool()); }},
    {"skip_special_tokens",
     [](const JsonCursor& v, Draft* d) { d->common.set_skip_special_tokens(v.Bool()); }},
    {"add_special_tokens",
     [](const JsonCursor& v, Draft* d) { d->common.set_add_special_tokens(v.Bool()); }},
    {"logprobs", [](const JsonCursor& v, Draft* d) { d->common.set_logprobs(Unsigned32(v)); }},
    {"echo", [](const JsonCursor& v, Draft* d) { d->call.echo = v.Bool(); }},
    {"stream", [](const JsonCursor& v, Draft* d) { d->call.stream = v.Bool(); }},
    {"stream_options", ReadStreamOptions},
    {"user", [](const JsonCursor& v, Draft* d) { d->common.set_unit_id(v.String()); }},
    {"request_id", [](const JsonCursor& v, Draft* d) { d->common.set_request_id(v.String()); }},
    {"routing", [](const JsonCursor& v, Draft* d) { ReadRouting(v, d->common.mutable_routing()); }},
    {"routing_seed",
     [](const JsonCursor& v, Draft* d) { d->common.set_routing_seed(v.Unsigned()); }},
    {"return_routed_experts",
     [](const JsonCursor& v, Draft* d) { d->call.routed_experts = v.Bool(); }},
    {"return_token_ids", [](const JsonCursor& v, Draft* d) { d->call.token_ids = v.Bool(); }},
};

const Field* FindField(std::string_view name) {
  for (const Field& field : kFields) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

void ReadFields(const JsonCursor& body, Draft* draft, api::RequestErrors* errors) {
  body.ForEachField([&](const std::string& name, const JsonCursor& value) {
    if (errors->num_added() >= kMaxErrors) return;
    const Field* field = FindField(name);
    if (field == nullptr) {
      errors->Add(Printable(name.substr(0, kMaxShownBytes)), "is not a field of this server");
      return;
    }
    if (value.IsNull()) return;  // unset
    absl::Status mistake;
    field->read(value.WithStatus(&mistake), draft);
    if (mistake.ok()) return;
    FieldViolation violation = ViolationOf(name, mistake);
    errors->Add(std::move(violation.field), std::move(violation.description));
  });
}

// What one field says of another.
void CheckTogether(Draft* draft, api::RequestErrors* errors) {
  const v1::GenerateRequest& common = draft->common;
  if (draft->prompts.empty() && errors->empty()) errors->Add("prompt", "must be set");
  const uint64_t n = common.has_n() ? common.n() : 1;
  if (draft->best_of && *draft->best_of != n) {
    errors->Add("best_of", absl::StrCat("must be n, ", n, ", is ", *draft->best_of));
  }
  if (draft->has_stream_options && !draft->call.stream) {
    errors->Add("stream_options", "is for streams: set stream, or leave it out");
  }
  if (common.routing().has_replay() && draft->prompts.size() > 1) {
    errors->Add("routing.replay", "is of one prompt");
  }
  // One that could not be read is 0, and has been told.
  if (common.max_new_tokens() == 0 && !draft->call.echo && errors->empty()) {
    errors->Add("max_tokens", "must be >= 1, is 0 (without echo)");
  }
}

void Finish(Draft* draft) {
  CompletionRequest& call = draft->call;
  v1::GenerateRequest& common = draft->common;
  call.logprobs = common.has_logprobs();
  if (call.echo && (call.logprobs || common.max_new_tokens() == 0)) {
    common.set_prompt_logprobs(common.logprobs());
  }
  common.mutable_trace()->set_experts(call.routed_experts);
}

absl::Status ReadBody(std::string_view body, Draft* draft) {
  draft->common.set_max_new_tokens(kDefaultMaxTokens);
  api::RequestErrors errors;
  const absl::Status status =
      ReadJson(body, kLimits, [&](const JsonCursor& root) { ReadFields(root, draft, &errors); });
  if (!status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("the body: ", status.message()));
  }
  CheckTogether(draft, &errors);
  if (!errors.empty()) return errors.ToStatus();
  Finish(draft);
  return absl::OkStatus();
}

absl::Status TakeArm(const experiment::Serving& serving, Draft* draft) {
  if (draft->model.empty()) return absl::OkStatus();
  auto arm = ArmOfModel(draft->model, serving);
  if (!arm.ok()) return arm.status();
  if (!arm->has_value()) return absl::OkStatus();
  v1::RoutingSelector* routing = draft->common.mutable_routing();
  const bool agree =
      routing->choice_case() == v1::RoutingSelector::kArmId && routing->arm_id() == **arm;
  if (routing->choice_case() != v1::RoutingSelector::CHOICE_NOT_SET && !agree) {
    return FieldError("routing", "must not be set where the model's name has an arm");
  }
  routing->set_arm_id(**arm);
  draft->call.arm_of_model = *std::move(arm);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::optional<std::string>> ArmOfModel(std::string_view model,
                                                      const experiment::Serving& serving) {
  const std::string& id = serving.model.model_id;
  if (model.empty() || model == id) return std::nullopt;
  const std::string prefix = id + "@";
  if (!model.starts_with(prefix)) return ModelNotFound(model);
  const std::string_view arm = model.substr(prefix.size());
  const auto plan = serving.controller->slot().Current();
  if (!plan->AssignExplicit(std::string(arm)).ok()) return ModelNotFound(model);
  return std::string(arm);
}

absl::StatusOr<CompletionRequest> ParseCompletion(std::string_view body,
                                                  const experiment::Serving& serving,
                                                  const Interrupt& interrupt) {
  Draft draft;
  if (absl::Status status = ReadBody(body, &draft); !status.ok()) return status;
  if (absl::Status status = TakeArm(serving, &draft); !status.ok()) return status;
  CompletionRequest& call = draft.call;
  for (size_t i = 0; i < draft.prompts.size(); ++i) {
    v1::GenerateRequest& message = draft.common;
    message.MergeFrom(draft.prompts[i]);
    draft.prompts[i].Clear();
    auto input = api::ParseGenerate(message, serving, interrupt);
    if (!input.ok()) {
      return WithJsonFields(input.status(),
                            draft.has_prompt_list ? std::optional(i) : std::nullopt);
    }
    if (i == 0) {
      call.request_id = std::move(input->request_id);
      call.routing = std::move(input->routing);
      // Checked and compiled once: all prompts are routed alike.
      message.clear_routing();
    }
    call.prompts.push_back(std::move(input->work));
    message.clear_prompt();
  }
  return std::move(call);
}

}  // namespace olmoe::completions
