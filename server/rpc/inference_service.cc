#include "server/rpc/inference_calls.h"

#include "absl/strings/str_cat.h"
#include "olmoe/v1/inference.grpc.pb.h"
#include "server/rpc/byte_service.h"
#include "server/rpc/unary.h"

namespace olmoe::rpc {
namespace {

using grpc::CallbackServerContext;

// A call that `function`, a StatusOr<Response>(const Request&, const InferenceContext&), answers.
template <class Request, class Function>
auto AnsweredBy(const InferenceContext* context, Function function) {
  return [context, function](CallbackServerContext* call) {
    return BoundedCall::Start<UnaryCall>(
        &context->call, call, nullptr,
        ForBytes<Request>(
            [context, function](const Request& message) { return function(message, *context); }));
  };
}

}  // namespace

void AddStampMetadata(const experiment::EngineRequest& request, CallbackServerContext* call) {
  call->AddInitialMetadata("x-olmoe-generation", absl::StrCat(request.generation()));
  call->AddInitialMetadata("x-olmoe-arm", request.assignment().arm_id);
}

std::unique_ptr<grpc::Service> MakeInferenceService(const InferenceContext* context) {
  const auto started_by = [context](auto start) {
    return [context, start](CallbackServerContext* call) { return start(context, call); };
  };
  return std::make_unique<ByteService<v1::InferenceService>>(
      *v1::GenerateRequest::descriptor()->file()->FindServiceByName("InferenceService"),
      MethodStarts{
          {"Generate", started_by(&StartGenerate)},
          {"GenerateStream", started_by(&StartGenerateStream)},
          {"Score", started_by(&StartScore)},
          {"ScoreStream", started_by(&StartScoreStream)},
          {"Tokenize",
           [context](CallbackServerContext* call) {
             return BoundedCall::Start<UnaryCall>(
                 &context->call, call, nullptr,
                 [context](const grpc::ByteBuffer& bytes, const Interrupt& interrupt) {
                   return Tokenize(bytes, *context, interrupt);
                 });
           }},
          {"Detokenize", AnsweredBy<v1::DetokenizeRequest>(context, &Detokenize)},
          {"GetModelInfo", AnsweredBy<v1::GetModelInfoRequest>(
                               context,
                               [](const v1::GetModelInfoRequest&, const InferenceContext& serving) {
                                 return absl::StatusOr<v1::GetModelInfoResponse>(
                                     DescribeModel(serving));
                               })},
      });
}

}  // namespace olmoe::rpc
