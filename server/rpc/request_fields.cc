#include "server/rpc/request_fields.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/text/tokenizer.h"
#include "server/util/status_details.h"

namespace olmoe::rpc {
namespace {

constexpr size_t kMaxRequestIdBytes = 64;
constexpr int kMaxListedIds = 8;

bool IsPrintableAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7F; });
}

void CheckVocabulary(const std::vector<TokenId>& ids, const std::string& field,
                     const ServiceContext& context, RequestErrors* errors) {
  for (const TokenId id : ids) {
    if (id < context.model.vocab_size) continue;
    errors->Add(field, absl::StrCat("holds text whose token ", id, " the model does not have (",
                                    context.model.vocab_size, " tokens)"));
    return;
  }
}

}  // namespace

uint64_t RandomBits() {
  thread_local std::mt19937_64 generator = [] {
    std::random_device device;
    std::seed_seq seed{device(), device(), device(), device()};
    return std::mt19937_64(seed);
  }();
  return generator();
}

bool IsRequestId(std::string_view request_id) {
  return request_id.size() <= kMaxRequestIdBytes && IsPrintableAscii(request_id);
}

std::string ParseRequestId(const std::string& request_id, RequestErrors* errors) {
  if (request_id.empty()) return absl::StrFormat("%016x", RandomBits());
  if (request_id.size() > kMaxRequestIdBytes) {
    errors->Add("request_id", absl::StrCat("must be at most ", kMaxRequestIdBytes, " bytes, is ",
                                           request_id.size()));
  } else if (!IsPrintableAscii(request_id)) {
    errors->Add("request_id", "must be printable ASCII");
  }
  return request_id;
}

std::vector<TokenId> ParseTokenIds(const google::protobuf::RepeatedField<uint32_t>& ids,
                                   const std::string& field, const ServiceContext& context,
                                   RequestErrors* errors) {
  const uint32_t vocab_size = static_cast<uint32_t>(context.model.vocab_size);
  std::vector<TokenId> out;
  out.reserve(static_cast<size_t>(ids.size()));
  int bad = 0;
  for (int i = 0; i < ids.size(); ++i) {
    if (ids[i] < vocab_size) {
      out.push_back(static_cast<TokenId>(ids[i]));
    } else if (++bad <= kMaxListedIds) {
      errors->Add(absl::StrCat(field, "[", i, "]"),
                  absl::StrCat("must be < ", vocab_size, ", is ", ids[i]));
    }
  }
  if (bad > kMaxListedIds) {
    errors->Add(field, absl::StrCat(bad - kMaxListedIds, " more ids are not < ", vocab_size));
  }
  return out;
}

absl::Status RequireTokenizer(const ServiceContext& context, const std::string& field) {
  if (context.tokenizer != nullptr) return absl::OkStatus();
  return WithPrecondition(
      absl::FailedPreconditionError(absl::StrCat(
          field, " holds text, and the model directory has no tokenizer.json: send token ids")),
      "TOKENIZER", context.model.model_id);
}

std::vector<TokenId> EncodeText(std::string_view text, const std::string& field,
                                bool add_special_tokens, const ServiceContext& context,
                                RequestErrors* errors, const Interrupt& interrupt) {
  if (absl::Status status = RequireTokenizer(context, field); !status.ok()) {
    errors->Add(status);
    return {};
  }
  absl::StatusOr<text::Encoding> encoding = context.tokenizer->Encode(
      text, {.add_special_tokens = add_special_tokens,
             .interrupt = [&interrupt] { return interrupt.Check(); }});
  if (absl::IsInvalidArgument(encoding.status())) {
    errors->Add(field, std::string(encoding.status().message()));
    return {};
  }
  if (!encoding.ok()) {
    errors->Add(encoding.status());
    return {};
  }
  CheckVocabulary(encoding->ids, field, context, errors);
  return std::move(encoding->ids);
}

int ParseTop(uint32_t top, const std::string& field, RequestErrors* errors) {
  if (top <= kMaxTopLogprobs) return static_cast<int>(top);
  errors->Add(field, absl::StrCat("must be 0..", kMaxTopLogprobs, ", is ", top));
  return 0;
}

}  // namespace olmoe::rpc
