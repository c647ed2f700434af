#include "server/model/safetensors.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "server/model/file_errors.h"
#include "server/model/strict_json.h"
#include "server/util/sha256.h"

namespace olmoe::model {
namespace {

constexpr size_t kMaxRank = 8;
constexpr size_t kMaxMetadataEntries = 10'000;
constexpr uint64_t kLengthBytes = 8;
constexpr char kMetadataKey[] = "__metadata__";

// Collects the entries of a header, with `offset` still relative to the data section.
// Depth 1 is the header, 2 a tensor or the metadata, 3 an array of a tensor.
// Thread-compatible.
class HeaderHandler final : public StrictJsonHandler {
 public:
  HeaderHandler()
      // A tensor counts at most 4 values and its dimensions.
      : StrictJsonHandler({.max_depth = 3, .max_values = kMaxSafetensorsEntries * 10}) {}

  std::vector<SafetensorsEntry> TakeEntries() { return std::move(entries_); }

 private:
  enum Field : unsigned { kNone = 0, kDType = 1, kShape = 2, kOffsets = 4, kAllFields = 7 };

  bool OnStartObject() override {
    if (depth() == 0) return true;
    if (depth() > 1) return Unexpected("an object");
    fields_seen_ = kNone;
    return true;
  }

  bool OnEndObject() override {
    if (in_tensor_ && fields_seen_ != kAllFields) {
      return Fail("needs dtype, shape and data_offsets");
    }
    in_metadata_ = false;
    in_tensor_ = false;
    field_ = kNone;
    return true;
  }

  bool OnKey(std::string& key) override {
    if (depth() == 1) return StartEntry(key);
    if (in_metadata_) {
      if (metadata_keys_.size() >= kMaxMetadataEntries) return Fail("too many entries");
      if (metadata_keys_.insert(key).second) return true;
      return Fail(absl::StrCat("duplicate key ", Printable(key)));
    }
    return StartField(key);
  }

  bool StartEntry(std::string& name) {
    if (!names_.insert(name).second) {
      return Fail(absl::StrCat("duplicate tensor ", Printable(name)));
    }
    in_metadata_ = name == kMetadataKey;
    in_tensor_ = !in_metadata_;
    if (in_metadata_) return true;
    if (entries_.size() == kMaxSafetensorsEntries) {
      in_tensor_ = false;
      return Fail(absl::StrCat("more than ", kMaxSafetensorsEntries, " tensors"));
    }
    entries_.emplace_back().name = std::move(name);
    return true;
  }

  bool StartField(const std::string& key) {
    field_ = key == "dtype"          ? kDType
             : key == "shape"        ? kShape
             : key == "data_offsets" ? kOffsets
                                     : kNone;
    if (field_ == kNone) return Fail(absl::StrCat("unknown key ", Printable(key)));
    if (fields_seen_ & field_) return Fail(absl::StrCat("duplicate key ", key));
    fields_seen_ |= field_;
    return true;
  }

  bool OnString(std::string& value) override {
    if (in_metadata_ && depth() == 2) return true;
    if (depth() != 2 || field_ != kDType) return Unexpected("a string");
    const std::optional<DType> dtype = DTypeFromName(value);
    if (!dtype.has_value()) return Fail(absl::StrCat("unknown dtype ", Printable(value)));
    entries_.back().dtype = *dtype;
    return true;
  }

  bool OnStartArray() override {
    if (depth() != 2 || in_metadata_ || (field_ != kShape && field_ != kOffsets)) {
      return Unexpected("an array");
    }
    num_offsets_ = 0;
    return true;
  }

  bool OnEndArray() override {
    if (field_ != kOffsets) return true;
    if (num_offsets_ != 2) return Fail("data_offsets must be [begin, end]");
    if (offsets_[1] < offsets_[0]) {
      return Fail(
          absl::StrCat("data_offsets [", offsets_[0], ", ", offsets_[1], "] run backwards"));
    }
    entries_.back().offset = offsets_[0];
    entries_.back().bytes = offsets_[1] - offsets_[0];
    return true;
  }

  bool OnUnsigned(uint64_t value) override {
    if (depth() != 3) return Unexpected("a number");
    if (field_ == kOffsets) {
      if (num_offsets_ == 2) return Fail("data_offsets must be [begin, end]");
      offsets_[num_offsets_++] = value;
      return true;
    }
    if (entries_.back().shape.size() == kMaxRank) {
      return Fail(absl::StrCat("more than ", kMaxRank, " dimensions"));
    }
    if (value > INT64_MAX) return Fail(absl::StrCat("dimension ", value, " is out of range"));
    entries_.back().shape.push_back(static_cast<int64_t>(value));
    return true;
  }

  std::string Where() const override {
    if (in_metadata_) return kMetadataKey;
    return in_tensor_ ? absl::StrCat("tensor ", Printable(entries_.back().name)) : "header";
  }

  absl::flat_hash_set<std::string> names_;
  absl::flat_hash_set<std::string> metadata_keys_;
  std::vector<SafetensorsEntry> entries_;
  bool in_metadata_ = false;
  bool in_tensor_ = false;
  // About entries_.back(), in_tensor_.
  unsigned fields_seen_ = kNone;  // of Field
  Field field_ = kNone;
  size_t num_offsets_ = 0;
  std::array<uint64_t, 2> offsets_ = {};
};

absl::Status EntryError(const SafetensorsEntry& entry, std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("tensor ", Printable(entry.name), ": ", std::string(what)));
}

// Shape times dtype, or nothing where that overflows.
std::optional<uint64_t> BytesOfShape(const SafetensorsEntry& entry) {
  uint64_t bytes = DTypeBytes(entry.dtype);
  for (int64_t dimension : entry.shape) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(dimension), &bytes)) {
      return std::nullopt;
    }
  }
  return bytes;
}

absl::Status CheckBytes(const SafetensorsEntry& entry) {
  const std::optional<uint64_t> expected = BytesOfShape(entry);
  if (expected == entry.bytes) return absl::OkStatus();
  const std::string shape =
      absl::StrCat(std::string(DTypeName(entry.dtype)), " ", ShapeText(entry.shape));
  if (!expected.has_value()) return EntryError(entry, absl::StrCat(shape, " overflows"));
  return EntryError(entry, absl::StrCat(shape, " takes ", *expected,
                                        " bytes, data_offsets span ", entry.bytes));
}

// Entries sorted by offset must follow one another from 0 to `data_bytes`.
absl::Status CheckCoverage(const std::vector<SafetensorsEntry>& entries, uint64_t data_bytes) {
  uint64_t end = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.offset != end) {
      return EntryError(entry, absl::StrCat("data starts at ", entry.offset, ", expected ", end,
                                            entry.offset < end ? " (overlap)" : " (hole)"));
    }
    end = entry.offset + entry.bytes;  // no overflow: this is its data_offsets[1]
    if (end > data_bytes) {
      return EntryError(entry, absl::StrCat("data ends at ", end, ", but the file holds ",
                                            data_bytes, " bytes of data (truncated?)"));
    }
  }
  if (end == data_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the tensors cover ", end, " of ", data_bytes,
                                                 " bytes of data"));
}

uint64_t LittleEndian64(std::span<const std::byte, kLengthBytes> bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) value |= static_cast<uint64_t>(bytes[i]) << (8 * i);
  return value;
}

}  // namespace

absl::StatusOr<std::vector<SafetensorsEntry>> ParseSafetensorsHeader(std::string_view json,
                                                                     uint64_t data_offset,
                                                                     uint64_t data_bytes) {
  HeaderHandler handler;
  absl::Status status = ParseStrictJson(json, &handler);
  if (!status.ok()) return status;
  std::vector<SafetensorsEntry> entries = handler.TakeEntries();
  for (const SafetensorsEntry& entry : entries) {
    status = CheckBytes(entry);
    if (!status.ok()) return status;
  }
  // An empty tensor comes before the one that starts where it lies.
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::tie(a.offset, a.bytes, a.name) < std::tie(b.offset, b.bytes, b.name);
  });
  status = CheckCoverage(entries, data_bytes);
  if (!status.ok()) return status;
  for (SafetensorsEntry& entry : entries) entry.offset += data_offset;
  return entries;
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
  absl::StatusOr<std::vector<SafetensorsEntry>> entries = ParseSafetensorsHeader(
      std::string_view(header).substr(kLengthBytes), data_offset_, size - data_offset_);
  if (!entries.ok()) return WithPath(path(), entries.status());
  entries_ = *std::move(entries);
  return absl::OkStatus();
}

const SafetensorsEntry* SafetensorsFile::Find(std::string_view name) const {
  const auto found =
      std::find_if(entries_.begin(), entries_.end(),
                   [&](const SafetensorsEntry& entry) { return entry.name == name; });
  return found == entries_.end() ? nullptr : &*found;
}

}  // namespace olmoe::model
