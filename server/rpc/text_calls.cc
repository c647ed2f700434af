#include "server/rpc/text_calls.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "server/rpc/request_errors.h"
#include "server/rpc/request_fields.h"
#include "server/text/tokenizer.h"

namespace olmoe::rpc {
namespace {

uint32_t WireTokenId(const std::optional<int64_t>& id) {
  return id && *id >= 0 ? static_cast<uint32_t>(*id) : 0;
}

}  // namespace

absl::StatusOr<v1::TokenizeResponse> Tokenize(const v1::TokenizeRequest& request,
                                              const ServiceContext& context) {
  if (absl::Status status = RequireTokenizer(context, "text"); !status.ok()) return status;
  absl::StatusOr<text::Encoding> encoding = context.tokenizer->Encode(
      request.text(), {.add_special_tokens = request.add_special_tokens(), .offsets = true});
  if (!encoding.ok()) return encoding.status();
  v1::TokenizeResponse response;
  for (const TokenId id : encoding->ids) {
    response.add_ids(static_cast<uint32_t>(id));
    response.add_pieces(std::string(context.tokenizer->TokenBytes(id)));
  }
  for (const text::Offsets& offsets : encoding->offsets) {
    response.add_start_offsets(offsets.start);
    response.add_end_offsets(offsets.end);
  }
  return response;
}

absl::StatusOr<v1::DetokenizeResponse> Detokenize(const v1::DetokenizeRequest& request,
                                                  const ServiceContext& context) {
  RequestErrors errors;
  const std::vector<TokenId> ids = ParseTokenIds(request.ids(), "ids", context, &errors);
  errors.Add(RequireTokenizer(context, "text"));
  if (!errors.empty()) return errors.ToStatus();
  v1::DetokenizeResponse response;
  response.set_text(context.tokenizer->Decode(ids, request.skip_special_tokens()));
  return response;
}

v1::GetModelInfoResponse DescribeModel(const ServiceContext& context) {
  const model::ModelInfo& model = context.model;
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
  out.set_device(model.device);
  out.set_dtype(model.dtype);
  out.set_kernels(model.kernels);
  out.set_server_version(context.server_version);
  out.set_max_batch_sequences(context.max_batch_sequences);
  out.set_has_tokenizer(context.tokenizer != nullptr);
  return out;
}

}  // namespace olmoe::rpc
