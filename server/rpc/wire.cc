#include "server/rpc/wire.h"

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/unknown_field_set.h"
#include "google/protobuf/wire_format.h"
#include "server/text/unicode.h"
#include "server/util/status_details.h"

namespace olmoe::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;
using google::protobuf::internal::WireFormat;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// Parts of a message that take an object each, or all fields of one that does not parse.
constexpr int64_t kMaxParts = 1 << 16;

struct FieldCounts {
  int64_t all = 0;
  int64_t parts = 0;  // texts, bytes, messages, packed numbers, and what is not of the message
};

// Counts down to what does not parse. The depth is that of the message type, as below.
void CountFields(const Descriptor& type, CodedInputStream* input, FieldCounts* counts) {
  while (const uint32_t tag = input->ReadTag()) {
    ++counts->all;
    const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const WireFormatLite::WireType wire_type = WireFormatLite::GetTagWireType(tag);
    if (wire_type != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      const int begin = input->CurrentPosition();
      if (!WireFormatLite::SkipField(input, tag)) return;
      const bool known =
          field != nullptr && WireFormat::WireTypeForFieldType(field->type()) == wire_type;
      const bool group = wire_type == WireFormatLite::WIRETYPE_START_GROUP;  // of many fields
      if (!known) counts->parts += group ? input->CurrentPosition() - begin : 1;
      continue;
    }
    ++counts->parts;
    uint32_t length = 0;
    if (!input->ReadVarint32(&length) || length > INT32_MAX) return;
    if (field == nullptr || field->type() != FieldDescriptor::TYPE_MESSAGE) {
      if (!input->Skip(static_cast<int>(length))) return;
      continue;
    }
    const CodedInputStream::Limit limit = input->PushLimit(static_cast<int>(length));
    CountFields(*field->message_type(), input, counts);
    const bool whole = input->BytesUntilLimit() == 0;
    input->PopLimit(limit);
    if (!whole) return;
  }
}

FieldCounts CountFields(const grpc::ByteBuffer& bytes, const Descriptor& type) {
  FieldCounts counts;
  grpc::ByteBuffer reference(bytes);  // shares the bytes
  grpc::ProtoBufferReader reader(&reference);
  if (!reader.status().ok()) return counts;
  CodedInputStream input(&reader);
  CountFields(type, &input, &counts);
  return counts;
}

// A request with a million bad fields is not worth a million messages.
constexpr size_t kMaxViolations = 64;

// Names every text field below `prefix` that is not UTF-8. The depth is that of
// the message type: our requests hold no message type inside itself.
void FindIllFormedText(const UnknownFieldSet& fields, const Descriptor& type,
                       const std::string& prefix, std::vector<FieldViolation>* violations) {
  std::map<int, int> seen;  // field number -> how many so far, the index of repeated fields
  for (int i = 0; i < fields.field_count() && violations->size() < kMaxViolations; ++i) {
    const UnknownField& field = fields.field(i);
    const FieldDescriptor* descriptor = type.FindFieldByNumber(field.number());
    if (descriptor == nullptr || field.type() != UnknownField::TYPE_LENGTH_DELIMITED) continue;
    const int index = seen[field.number()]++;
    std::string name = absl::StrCat(prefix, descriptor->name());
    if (descriptor->is_repeated()) absl::StrAppend(&name, "[", index, "]");
    if (descriptor->type() == FieldDescriptor::TYPE_STRING) {
      const size_t offset = text::FirstIllFormedByte(field.length_delimited());
      if (offset == std::string_view::npos) continue;
      violations->push_back({name, absl::StrCat("is not well-formed UTF-8 (byte ", offset, ")")});
    } else if (descriptor->type() == FieldDescriptor::TYPE_MESSAGE) {
      UnknownFieldSet nested;
      if (!nested.ParseFromString(field.length_delimited())) continue;
      FindIllFormedText(nested, *descriptor->message_type(), name + ".", violations);
    }
  }
}

std::string Bytes(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string bytes;
  if (!buffer.Dump(&slices).ok()) return bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

absl::Status WhyItDoesNotParse(const grpc::ByteBuffer& bytes, const Descriptor& type) {
  std::vector<FieldViolation> violations;
  UnknownFieldSet fields;
  if (CountFields(bytes, type).all <= kMaxParts && fields.ParseFromString(Bytes(bytes))) {
    FindIllFormedText(fields, type, "", &violations);
  }
  if (!violations.empty()) return InvalidFields(violations);
  return absl::InvalidArgumentError(absl::StrCat("the request is not a ", type.full_name()));
}

}  // namespace

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  if (!bytes.Valid()) return absl::InvalidArgumentError("the request has no message");
  const Descriptor& type = *message->GetDescriptor();
  if (bytes.Length() > kMaxParts && CountFields(bytes, type).parts > kMaxParts) {
    return absl::InvalidArgumentError(
        absl::StrCat("the request has more than ", kMaxParts, " parts"));
  }
  grpc::ByteBuffer reference(bytes);  // shares the bytes
  grpc::ProtoBufferReader reader(&reference);
  if (reader.status().ok() && message->ParseFromZeroCopyStream(&reader)) {
    return absl::OkStatus();
  }
  return WhyItDoesNotParse(bytes, type);
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message) {
  grpc::ByteBuffer buffer;
  bool own_buffer = false;
  const grpc::Status status =
      grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(message, &buffer,
                                                                                 &own_buffer);
  CHECK(status.ok()) << status.error_message();  // only a message of 2 GiB fails
  return buffer;
}

}  // namespace olmoe::rpc
