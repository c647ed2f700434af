#include "tests/rpc/generic_call.h"

#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>

#include <vector>

#include "gtest/gtest.h"

namespace olmoe::rpc {
namespace {

grpc::ByteBuffer ToBuffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string ToBytes(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Valid() || !buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

}  // namespace

struct GenericStream::Call {
  explicit Call(const std::shared_ptr<grpc::Channel>& channel) : stub(channel) {}

  // Waits for the one operation under way.
  bool Await() {
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    return ok;
  }

  grpc::GenericStub stub;
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream;
};

GenericStream::GenericStream(const std::shared_ptr<grpc::Channel>& channel,
                             const std::string& method, const Metadata& metadata)
    : call_(std::make_unique<Call>(channel)) {
  for (const auto& [key, value] : metadata) call_->context.AddMetadata(key, value);
  call_->stream = call_->stub.PrepareCall(&call_->context, method, &call_->queue);
  call_->stream->StartCall(nullptr);
  call_->Await();
}

GenericStream::~GenericStream() {
  call_->queue.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (call_->queue.Next(&tag, &ok)) {
  }
}

bool GenericStream::Write(const std::string& bytes) {
  call_->stream->Write(ToBuffer(bytes), nullptr);
  return call_->Await();
}

void GenericStream::WritesDone() {
  call_->stream->WritesDone(nullptr);
  call_->Await();
}

bool GenericStream::Read(std::string* bytes) {
  grpc::ByteBuffer buffer;
  call_->stream->Read(&buffer, nullptr);
  if (!call_->Await()) return false;
  *bytes = ToBytes(buffer);
  return true;
}

grpc::Status GenericStream::Finish() {
  grpc::Status status;
  call_->stream->Finish(&status, nullptr);
  call_->Await();
  return status;
}

void GenericStream::Cancel() { call_->context.TryCancel(); }

GenericReply CallUnary(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                       const std::string& bytes, const Metadata& metadata) {
  GenericStream stream(channel, method, metadata);
  stream.Write(bytes);
  stream.WritesDone();
  GenericReply reply;
  stream.Read(&reply.bytes);
  reply.status = stream.Finish();
  return reply;
}

}  // namespace olmoe::rpc
