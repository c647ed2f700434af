// Tokenize, Detokenize, GetModelInfo: no model is run.
#include "server/rpc/inference_calls.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/api/request_errors.h"
#include "server/api/request_fields.h"
#include "server/rpc/wire.h"
#include "server/text/tokenizer.h"
#include "server/util/status_details.h"

namespace olmoe::rpc {
namespace {

uint32_t WireTokenId(const std::optional<int64_t>& id) {
  return id && *id >= 0 ? static_cast<uint32_t>(*id) : 0;
}

// A token of one byte takes 14 bytes of the answer at most: 3 for its id, 3 for its piece, 4 for
// each offset. Only text that NFC makes longer has more tokens than bytes.
size_t MaxTokens(std::string_view text) {
  constexpr size_t kForShortTexts = 256 << 10;
  return text.size() + kForShortTexts;
}

void SetPart(const text::Encoding& tokens, const text::Tokenizer& tokenizer,
             v1::TokenizeResponse* part) {
  part->Clear();
  for (const TokenId id : tokens.ids) {
    part->add_ids(static_cast<uint32_t>(id));
    part->add_pieces(std::string(tokenizer.TokenBytes(id)));
  }
  for (const text::Offsets& offsets : tokens.offsets) {
    part->add_start_offsets(offsets.start);
    part->add_end_offsets(offsets.end);
  }
}

}  // namespace

absl::StatusOr<grpc::ByteBuffer> Tokenize(const grpc::ByteBuffer& bytes,
                                          const InferenceContext& context,
                                          const Interrupt& interrupt) {
  v1::TokenizeRequest request;
  absl::Status status = ParseMessage(bytes, &request);
  if (status.ok()) status = api::RequireTokenizer(*context.serving, "text");
  if (!status.ok()) return status;

  // Messages one after the other are one message, whose repeated fields are those of all.
  std::vector<grpc::Slice> response;
  v1::TokenizeResponse part;
  const text::EncodeOptions options = {.add_special_tokens = request.add_special_tokens(),
                                       .offsets = true,
                                       .max_tokens = MaxTokens(request.text()),
                                       .interrupt = [&interrupt] { return interrupt.Check(); }};
  status = context.serving->tokenizer->EncodeInParts(
      request.text(), options, [&](text::Encoding&& tokens) {
        SetPart(tokens, *context.serving->tokenizer, &part);
        response.emplace_back(part.SerializeAsString());
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return grpc::ByteBuffer(response.data(), response.size());
}

absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request,
                                                  const InferenceContext& context) {
  api::RequestErrors errors;
  const std::vector<TokenId> ids =
      api::ParseTokenIds(request.ids(), "ids", *context.serving, &errors);
  errors.Add(api::RequireTokenizer(*context.serving, "text"));
  if (!errors.empty()) return errors.ToStatus();
  if (absl::Status fits = api::CheckTextFits(ids, *context.serving); !fits.ok()) return fits;
  v1::DetokenizeResponse response;
  response.set_text(context.serving->tokenizer->Decode(ids, request.skip_special_tokens()));
  return response;
}

v1::GetModelInfoResponse DescribeModel(const InferenceContext& context) {
  const model::ModelInfo& model = context.serving->model;
  v1::GetModelInfoResponse out;
  out.set_model_id(model.model_id);
  out.set_weights_digest(model.weights_digest);
  out.set_num_layers(static_cast<uint32_t>(model.num_layers));
  out.set_num_experts(static_cast<uint32_t>(model.num_experts));
  out.set_default_top_k(static_cast<uint32_t>(model.default_top_k));
  out.set_norm_topk_prob(model.norm_topk_prob);
  out.set_hidden_size(static_cast<uint32_t>(model.hidden_size));
  out.set_vocab_size(static_cast<uint32_t>(model.vocab_size));
  out.set_max_context(static_cast<uint32_t>(model.max_context));
  out.set_eos_token_id(WireTokenId(model.eos_token_id));
  out.set_pad_token_id(WireTokenId(model.pad_token_id));
  for (const int64_t id : model.end_token_ids) {
    out.add_eos_token_ids(static_cast<uint32_t>(id));
  }
  out.set_device(model.device);
  out.set_dtype(model.dtype);
  out.set_kernels(model.kernels);
  out.set_server_version(context.server_version);
  out.set_max_batch_sequences(context.max_batch_sequences);
  out.set_has_tokenizer(context.serving->tokenizer != nullptr);
  return out;
}

}  // namespace olmoe::rpc
