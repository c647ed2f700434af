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
#include "google/protobuf/unknown_field_set.h"
#include "server/util/status_details.h"

namespace olmoe::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::UnknownField;
using google::protobuf::UnknownFieldSet;

// A request with a million bad fields is not worth a million messages.
constexpr size_t kMaxViolations = 64;

// Bytes of the well-formed UTF-8 character that `text` begins with; 0 for none.
// Table 3-7 of the Unicode standard: no overlong forms, no surrogates.
size_t CharacterLength(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t length = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

// Offset of the first ill-formed byte; npos where there is none.
size_t FirstIllFormed(std::string_view text) {
  for (size_t offset = 0; offset < text.size();) {
    const size_t length = CharacterLength(text.substr(offset));
    if (length == 0) return offset;
    offset += length;
  }
  return std::string_view::npos;
}

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
      const size_t offset = FirstIllFormed(field.length_delimited());
      if (offset == std::string_view::npos) continue;
      violations->push_back(
          {name, absl::StrCat("is not well-formed UTF-8 (byte ", offset, ")")});
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

absl::Status WhyItDoesNotParse(const std::string& bytes, const Descriptor& type) {
  std::vector<FieldViolation> violations;
  UnknownFieldSet fields;
  if (fields.ParseFromString(bytes)) FindIllFormedText(fields, type, "", &violations);
  if (!violations.empty()) return InvalidFields(violations);
  return absl::InvalidArgumentError(absl::StrCat("the request is not a ", type.full_name()));
}

}  // namespace

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  if (!bytes.Valid()) return absl::InvalidArgumentError("the request has no message");
  grpc::ByteBuffer reference(bytes);  // shares the bytes
  grpc::ProtoBufferReader reader(&reference);
  if (reader.status().ok() && message->ParseFromZeroCopyStream(&reader)) {
    return absl::OkStatus();
  }
  return WhyItDoesNotParse(Bytes(bytes), *message->GetDescriptor());
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message) {
  grpc::ByteBuffer buffer;
  bool own_buffer = false;
  const grpc::Status status =
      grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(
          message, &buffer, &own_buffer);
  CHECK(status.ok()) << status.error_message();  // only a message of 2 GiB fails
  return buffer;
}

}  // namespace olmoe::rpc
