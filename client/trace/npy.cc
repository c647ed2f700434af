#include "client/trace/npy.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "client/trace/trace_file.h"
#include "olmoe/v1/inference.pb.h"
#include "server/routing/rule.h"
#include "server/util/file_errors.h"

namespace olmoe::client::trace {
namespace {

constexpr absl::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kVersionBytes = 2;
constexpr size_t kAlignment = 64;  // of the data

absl::Status Invalid(absl::string_view what) { return absl::InvalidArgumentError(what); }

struct Header {
  std::string descr;
  bool fortran_order = false;
  std::vector<uint64_t> shape;
  size_t data = 0;  // where it begins in the file
};

// What follows `name` in a dictionary as Python writes it: "'descr': '<i2', ". nullopt: nothing.
std::optional<absl::string_view> ValueOf(absl::string_view dictionary, absl::string_view name) {
  const size_t at = dictionary.find(absl::StrCat("'", name, "'"));
  if (at == absl::string_view::npos) return std::nullopt;
  absl::string_view rest = dictionary.substr(at + name.size() + 2);
  rest = absl::StripLeadingAsciiWhitespace(rest);
  if (!absl::ConsumePrefix(&rest, ":")) return std::nullopt;
  return absl::StripLeadingAsciiWhitespace(rest);
}

// "(5, 16, 8)..."
bool ReadShape(absl::string_view text, std::vector<uint64_t>* shape) {
  const size_t close = text.find(')');
  if (!absl::StartsWith(text, "(") || close == absl::string_view::npos) return false;
  for (const absl::string_view part : absl::StrSplit(text.substr(1, close - 1), ',')) {
    const absl::string_view number = absl::StripAsciiWhitespace(part);
    if (number.empty()) continue;  // behind the last comma
    if (!absl::SimpleAtoi(number, &shape->emplace_back())) return false;
  }
  return true;
}

absl::StatusOr<Header> ReadHeader(const std::string& bytes) {
  const absl::Status broken = Invalid("the header of the NumPy file is not whole");
  const size_t before = kMagic.size() + kVersionBytes;
  if (!IsNpy(bytes) || bytes.size() < before) return broken;
  const int version = static_cast<uint8_t>(bytes[kMagic.size()]);
  if (version < 1 || version > 3) {
    return Invalid(absl::StrCat("NumPy format ", version, " is not known, only 1 to 3"));
  }
  const size_t size_bytes = version == 1 ? 2 : 4;
  if (bytes.size() < before + size_bytes) return broken;
  uint32_t size = 0;
  std::memcpy(&size, bytes.data() + before, size_bytes);
  Header header;
  header.data = before + size_bytes + size;
  if (header.data > bytes.size()) return broken;
  const absl::string_view dictionary(bytes.data() + before + size_bytes, size);
  const auto descr = ValueOf(dictionary, "descr");
  const auto order = ValueOf(dictionary, "fortran_order");
  const auto shape = ValueOf(dictionary, "shape");
  if (!descr || !order || !shape || !ReadShape(*shape, &header.shape)) return broken;
  if (absl::StartsWith(*descr, "'")) {
    header.descr = std::string(descr->substr(1, descr->find('\'', 1) - 1));
  } else {
    header.descr = "of several fields";
  }
  header.fortran_order = absl::StartsWith(*order, "True");
  return header;
}

template <typename T>
int64_t Load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return static_cast<int64_t>(value);
}

struct Type {
  const char* descr;
  size_t bytes;
  int64_t (*load)(const char*);
};
constexpr std::array kTypes = {
    Type{"<i2", 2, Load<int16_t>},
    Type{"<i4", 4, Load<int32_t>},
    Type{"<i8", 8, Load<int64_t>},
    Type{"|u1", 1, Load<uint8_t>},
};

std::string PlaceText(uint64_t position, uint64_t layer) {
  return absl::StrCat("position ", position, ", layer ", layer);
}

absl::StatusOr<Type> TypeOf(const Header& header) {
  for (const Type& type : kTypes) {
    if (header.descr == type.descr) return type;
  }
  return Invalid(absl::StrCat("dtype ", Quoted(header.descr),
                              " is not int16, int32, int64 (little-endian) or uint8"));
}

absl::Status CheckShape(const Header& header, const Type& type, size_t data_bytes) {
  if (header.fortran_order) {
    return Invalid("the array is in Fortran order: save numpy.ascontiguousarray of it");
  }
  const std::string shape = absl::StrCat("(", absl::StrJoin(header.shape, ", "), ")");
  if (header.shape.size() != 3) {
    return Invalid(absl::StrCat("the shape must be [positions, layers, top_k], is ", shape));
  }
  uint64_t values = 1;
  for (const uint64_t size : header.shape) {
    if (size == 0) return Invalid(absl::StrCat("an array of shape ", shape, " routes nothing"));
    if (size > data_bytes / values) values = data_bytes + 1;  // larger than the file
    if (values <= data_bytes) values *= size;
  }
  if (values > data_bytes || values * type.bytes != data_bytes) {
    return Invalid(
        absl::StrCat(data_bytes, " bytes of data are not those of ", header.descr, " ", shape));
  }
  if (header.shape[2] > static_cast<uint64_t>(routing::kMaxExperts)) {
    return Invalid(
        absl::StrCat("top_k must be at most ", routing::kMaxExperts, ", is ", header.shape[2]));
  }
  return absl::OkStatus();
}

}  // namespace

bool IsNpy(const std::string& bytes) { return absl::StartsWith(bytes, kMagic); }

absl::StatusOr<v1::RoutingTrace> TraceOfNpy(const std::string& bytes) {
  const auto header = ReadHeader(bytes);
  if (!header.ok()) return header.status();
  const auto type = TypeOf(*header);
  if (!type.ok()) return type.status();
  const size_t data_bytes = bytes.size() - header->data;
  if (absl::Status status = CheckShape(*header, *type, data_bytes); !status.ok()) return status;
  const uint64_t positions = header->shape[0], layers = header->shape[1], k = header->shape[2];
  v1::RoutingTrace trace;
  trace.set_num_positions(static_cast<uint32_t>(positions));
  trace.set_num_layers(static_cast<uint32_t>(layers));
  trace.set_counts(std::string(positions * layers, static_cast<char>(k)));
  std::string* experts = trace.mutable_experts();
  experts->reserve(positions * layers * k);
  for (size_t i = 0; i < positions * layers * k; ++i) {
    const int64_t expert = type->load(bytes.data() + header->data + i * type->bytes);
    if (expert < 0 || expert >= routing::kMaxExperts) {
      return Invalid(absl::StrCat(PlaceText(i / k / layers, i / k % layers), ": ", expert,
                                  " is not the id of an expert (0..", routing::kMaxExperts - 1,
                                  ")"));
    }
    experts->push_back(static_cast<char>(expert));
  }
  return trace;
}

absl::StatusOr<std::string> NpyOfTrace(const v1::RoutingTrace& trace) {
  if (absl::Status status = CheckTrace(trace); !status.ok()) return status;
  if (trace.first_position() != 0) {
    return Invalid(absl::StrCat("the trace begins at position ", trace.first_position(),
                                ", an array of vLLM at 0"));
  }
  const uint64_t layers = trace.num_layers();
  const int k = static_cast<uint8_t>(trace.counts()[0]);
  for (size_t slot = 0; slot < trace.counts().size(); ++slot) {
    const int count = static_cast<uint8_t>(trace.counts()[slot]);
    if (count == k) continue;
    return Invalid(absl::StrCat("an array of vLLM has as many experts in every row; ",
                                PlaceText(slot / layers, slot % layers), " has ", count,
                                ", those before have ", k));
  }
  std::string header = absl::StrCat("{'descr': '<i2', 'fortran_order': False, 'shape': (",
                                    trace.num_positions(), ", ", layers, ", ", k, "), }");
  const size_t before = kMagic.size() + kVersionBytes + sizeof(uint16_t);
  const size_t whole = (before + header.size() + 1 + kAlignment - 1) / kAlignment * kAlignment;
  header.resize(whole - before - 1, ' ');
  header.push_back('\n');
  std::string bytes(kMagic);
  bytes +=
      {'\1', '\0', static_cast<char>(header.size() & 0xFF), static_cast<char>(header.size() >> 8)};
  bytes += header;
  for (const char expert : trace.experts()) bytes += {expert, '\0'};
  return bytes;
}

}  // namespace olmoe::client::trace
