#include "server/text/tokenizer.h"

#include <filesystem>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/text/encoder.h"
#include "server/text/tokenizer_config.h"
#include "server/text/tokenizer_json.h"
#include "server/util/file_errors.h"
#include "server/util/file_reader.h"
#include "server/util/utf8.h"

namespace olmoe::text {
namespace {

// The largest tokenizer.json in use has 33 MB.
constexpr uint64_t kMaxFileBytes = uint64_t{256} << 20;

absl::StatusOr<TokenizerSpec> ReadSpec(const std::string& path) {
  const absl::StatusOr<std::string> json = ReadSmallFile(path, kMaxFileBytes);
  if (!json.ok()) return json.status();
  absl::StatusOr<TokenizerSpec> spec = ParseTokenizerJson(*json);
  if (!spec.ok()) return WithPath(path, spec.status());
  return spec;
}

}  // namespace

class Tokenizer::Impl {
 public:
  explicit Impl(const TokenizerSpec& spec) : stages(spec), notes(spec.notes) {}

  const Stages stages;
  const std::vector<std::string> notes;
};

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(std::string_view json) {
  const absl::StatusOr<TokenizerSpec> spec = ParseTokenizerJson(json);
  if (!spec.ok()) return WithPath("tokenizer.json", spec.status());
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::make_unique<const Impl>(*spec)));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromFile(const std::string& path) {
  const absl::StatusOr<TokenizerSpec> spec = ReadSpec(path);
  if (!spec.ok()) return spec.status();
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::make_unique<const Impl>(*spec)));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromFolder(const std::string& folder) {
  const std::filesystem::path path = folder;
  absl::StatusOr<TokenizerSpec> spec = ReadSpec((path / "tokenizer.json").string());
  if (!spec.ok()) return spec.status();
  const absl::Status status =
      ApplyTokenizerConfig((path / "tokenizer_config.json").string(), &*spec);
  if (!status.ok()) return status;
  return std::unique_ptr<Tokenizer>(new Tokenizer(std::make_unique<const Impl>(*spec)));
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}

Tokenizer::~Tokenizer() = default;

absl::StatusOr<Encoding> Tokenizer::Encode(std::string_view utf8,
                                           const EncodeOptions& options) const {
  Encoding whole;
  absl::Status status = EncodeInParts(utf8, options, [&whole](Encoding&& part) {
    if (whole.ids.empty()) {
      whole = std::move(part);
    } else {
      whole.ids.insert(whole.ids.end(), part.ids.begin(), part.ids.end());
      whole.offsets.insert(whole.offsets.end(), part.offsets.begin(), part.offsets.end());
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return whole;
}

absl::Status Tokenizer::EncodeInParts(std::string_view utf8, const EncodeOptions& options,
                                      TakeTokens take) const {
  if (utf8.size() > static_cast<size_t>(INT32_MAX)) {
    return absl::InvalidArgumentError(
        absl::StrCat("text of ", utf8.size(), " bytes, more than ", INT32_MAX));
  }
  if (!IsWellFormedUtf8(utf8)) return absl::InvalidArgumentError("text is not well-formed UTF-8");
  return EncodeText(impl_->stages, utf8, options, take);
}

std::string Tokenizer::Decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::string bytes;
  for (const TokenId id : ids) {
    if (skip_special_tokens && IsSpecial(id)) continue;
    bytes += TokenBytes(id);
  }
  if (IsWellFormedUtf8(bytes)) return bytes;
  return LossyUtf8(bytes);
}

std::string_view Tokenizer::TokenBytes(TokenId id) const {
  return impl_->stages.vocabulary.Bytes(id);
}

bool Tokenizer::IsSpecial(TokenId id) const { return impl_->stages.vocabulary.IsSpecial(id); }

int Tokenizer::vocab_size() const { return impl_->stages.vocabulary.size(); }

const std::vector<std::string>& Tokenizer::notes() const { return impl_->notes; }

StreamingDetokenizer::StreamingDetokenizer(const Tokenizer* tokenizer, bool skip_special_tokens)
    : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens) {}

std::string StreamingDetokenizer::Add(TokenId id) {
  if (skip_special_tokens_ && tokenizer_->IsSpecial(id)) return "";
  std::string bytes = std::exchange(held_back_, "");
  bytes += tokenizer_->TokenBytes(id);
  const size_t complete = CompleteUtf8Prefix(bytes);
  held_back_ = bytes.substr(complete);
  bytes.resize(complete);
  return LossyUtf8(bytes);
}

std::string StreamingDetokenizer::Flush() { return LossyUtf8(std::exchange(held_back_, "")); }

}  // namespace olmoe::text
