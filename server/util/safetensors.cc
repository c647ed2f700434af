#include "server/util/safetensors.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/util/file_errors.h"
#include "server/util/json_cursor.h"
#include "server/util/sha256.h"

namespace olmoe {
namespace {

constexpr size_t kMaxRank = 8;
constexpr size_t kMaxMetadataEntries = 10'000;
constexpr uint64_t kLengthBytes = 8;
constexpr char kMetadataKey[] = "__metadata__";
// A tensor counts at most 4 values and its dimensions.
constexpr JsonLimits kHeaderLimits = {.max_depth = 3, .max_values = kMaxSafetensorsEntries * 10};

std::map<std::string, std::string> ReadMetadata(const JsonCursor& metadata) {
  std::map<std::string, std::string> strings;
  if (metadata.size() > kMaxMetadataEntries) metadata.Fail("too many entries");
  metadata.ForEachField(
      [&](const std::string& key, const JsonCursor& value) { strings[key] = value.String(); });
  return strings;
}

void ReadShape(const JsonCursor& shape, SafetensorsEntry* entry) {
  if (shape.size() > kMaxRank) shape.Fail(absl::StrCat("more than ", kMaxRank, " dimensions"));
  shape.ForEach([&](const JsonCursor& dimension) {
    entry->shape.push_back(dimension.Integer(0, std::numeric_limits<int64_t>::max()));
  });
}

void ReadOffsets(const JsonCursor& data_offsets, SafetensorsEntry* entry) {
  std::vector<uint64_t> offsets;
  data_offsets.ForEach([&](const JsonCursor& offset) { offsets.push_back(offset.Unsigned()); });
  if (!data_offsets.ok()) return;
  if (offsets.size() != 2) return data_offsets.Fail("must be [begin, end]");
  if (offsets[1] < offsets[0]) {
    return data_offsets.Fail(absl::StrCat("[", offsets[0], ", ", offsets[1], "] runs backwards"));
  }
  entry->offset = offsets[0];
  entry->bytes = offsets[1] - offsets[0];
}

// Its `offset` is still relative to the data section.
SafetensorsEntry ReadEntry(const std::string& name, const JsonCursor& tensor) {
  tensor.AllowOnly({"dtype", "shape", "data_offsets"});
  if (tensor.size() != 3) tensor.Fail("needs dtype, shape and data_offsets");
  SafetensorsEntry entry;
  entry.name = name;
  const std::string dtype = tensor["dtype"].String();
  const std::optional<DType> known = DTypeFromName(dtype);
  if (!known.has_value()) tensor["dtype"].Fail(absl::StrCat("unknown dtype ", Quoted(dtype)));
  entry.dtype = known.value_or(DType::kFloat32);
  ReadShape(tensor["shape"], &entry);
  ReadOffsets(tensor["data_offsets"], &entry);
  return entry;
}

absl::Status EntryError(std::string_view name, std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", Printable(name), ": ", std::string(what)));
}

// The mistakes in a tensor are told beside its name.
SafetensorsHeader HeaderOf(const JsonCursor& root, absl::Status* status) {
  SafetensorsHeader header;
  root.ForEachField([&](const std::string& name, const JsonCursor& value) {
    if (name == kMetadataKey) {
      header.metadata = ReadMetadata(value);
      return;
    }
    absl::Status error;
    header.entries.push_back(ReadEntry(name, value.AsRoot().WithStatus(&error)));
    if (!error.ok()) *status = EntryError(name, std::string(error.message()));
    if (header.entries.size() > kMaxSafetensorsEntries) {
      root.Fail(absl::StrCat("more than ", kMaxSafetensorsEntries, " tensors"));
    }
  });
  return header;
}

absl::Status CheckBytes(const SafetensorsEntry& entry) {
  const std::optional<uint64_t> expected = TensorBytes(entry.dtype, entry.shape);
  if (expected == entry.bytes) return absl::OkStatus();
  const std::string shape =
      absl::StrCat(std::string(DTypeName(entry.dtype)), " ", ShapeText(entry.shape));
  if (!expected.has_value()) return EntryError(entry.name, absl::StrCat(shape, " overflows"));
  return EntryError(entry.name, absl::StrCat(shape, " takes ", *expected,
                                             " bytes, data_offsets span ", entry.bytes));
}

// Entries sorted by offset must follow one another from 0 to `data_bytes`.
absl::Status CheckCoverage(const std::vector<SafetensorsEntry>& entries, uint64_t data_bytes) {
  uint64_t end = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.offset != end) {
      return EntryError(entry.name,
                        absl::StrCat("data starts at ", entry.offset, ", expected ", end,
                                     entry.offset < end ? " (overlap)" : " (hole)"));
    }
    end = entry.offset + entry.bytes;  // no overflow: this is its data_offsets[1]
    if (end > data_bytes) {
      return EntryError(entry.name, absl::StrCat("data ends at ", end, ", but the file holds ",
                                                 data_bytes, " bytes of data (truncated?)"));
    }
  }
  if (end == data_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the tensors cover ", end, " of ", data_bytes, " bytes of data"));
}

uint64_t LittleEndian64(std::span<const std::byte, kLengthBytes> bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) value |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  return value;
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json,
                                                         uint64_t data_offset,
                                                         uint64_t data_bytes) {
  const absl::StatusOr<JsonDocument> document = JsonDocument::Parse(json, kHeaderLimits);
  if (!document.ok()) return document.status();
  absl::Status status;
  SafetensorsHeader header = HeaderOf(JsonCursor(*document, &status), &status);
  std::vector<SafetensorsEntry>& entries = header.entries;
  for (const SafetensorsEntry& entry : entries) {
    if (status.ok()) status = CheckBytes(entry);
  }
  if (!status.ok()) return status;
  // An empty tensor comes before the one that starts where it lies.
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
  });
  status = CheckCoverage(entries, data_bytes);
  if (!status.ok()) return status;
  for (SafetensorsEntry& entry : entries) entry.offset += data_offset;
  return header;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  absl::StatusOr<std::unique_ptr<FileReader>> reader = FileReader::Open(path);
  if (!reader.ok()) return reader.status();
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile());
  file->reader_ = *std::move(reader);
  const absl::Status status = file->ReadHeader();
  if (!status.ok()) return status;
  return file;
}

absl::Status SafetensorsFile::ReadHeader() {
  const uint64_t size = reader_->size_bytes();
  // The length and the first byte of the JSON, before memory is taken for the rest.
  std::array<std::byte, kLengthBytes + 1> start = {};
  if (size < start.size()) {
    return InvalidFile(path(), absl::StrCat(size, " bytes, too short for a safetensors file"));
  }
  absl::Status status = reader_->ReadAt(0, start);
  if (!status.ok()) return status;
  const uint64_t length = LittleEndian64(std::span(start).first<kLengthBytes>());
  const uint64_t max_length = std::min(size - kLengthBytes, kMaxSafetensorsHeaderBytes);
  if (length == 0 || length > max_length) {
    return InvalidFile(path(),
                       absl::StrCat("header length ", length, ", expected 1 to ", max_length));
  }
  if (start[kLengthBytes] != std::byte{'{'}) {
    return InvalidFile(path(), "the header does not start with '{'");
  }

  data_offset_ = kLengthBytes + length;
  std::string header(data_offset_, '\0');
  status = reader_->ReadAt(0, std::as_writable_bytes(std::span(header)));
  if (!status.ok()) return status;
  header_digest_ = Sha256Hex(header);
  absl::StatusOr<SafetensorsHeader> parsed = ParseSafetensorsHeader(
      std::string_view(header).substr(kLengthBytes), data_offset_, size - data_offset_);
  if (!parsed.ok()) return WithPath(path(), parsed.status());
  header_ = *std::move(parsed);
  return absl::OkStatus();
}

const SafetensorsEntry* SafetensorsFile::Find(std::string_view name) const {
  const auto found =
      std::find_if(entries().begin(), entries().end(),
                   [&](const SafetensorsEntry& entry) { return entry.name == name; });
  return found == entries().end() ? nullptr : &*found;
}

}  // namespace olmoe
