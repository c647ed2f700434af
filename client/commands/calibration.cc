#include <cstdint>
#include <fstream>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/commands/command.h"
#include "client/notation/calibration_file.h"
#include "client/render/progress.h"
#include "client/render/routing.h"
#include "client/render/table.h"
#include "olmoe/v1/admin.pb.h"

namespace olmoe::client::commands {
namespace {

std::string RenderCalibrations(const std::vector<v1::CalibrationInfo>& calibrations,
                               const render::Style& style) {
  using enum render::Table::Align;
  render::Table table({{"CALIBRATION"},
                       {"DIGEST"},
                       {"LAYERS", kRight},
                       {"TOKENS", kRight},
                       {"TRIMMED", kRight},
                       {"IN USE"}});
  for (const v1::CalibrationInfo& info : calibrations) {
    table.AddRow({info.calibration_id(), info.digest().substr(0, render::kShortDigest),
                  absl::StrCat(info.num_layers()), absl::StrCat(info.tokens()),
                  absl::StrCat(info.trim_top()), info.in_use() ? "yes" : "no"});
  }
  return table.Render(style);
}

// The reply to `build` or `put`.
template <typename Reply>
ExitCode PrintCalibration(const absl::StatusOr<Reply>& reply, Session& session) {
  return session.PrintReply(reply, [](const Reply& response, const render::Style& style) {
    return RenderCalibrations({response.calibration()}, style);
  });
}

// `type`: CALIBRATION for one that is there.
void NameArgument(CLI::App& command, std::string& name, const char* type) {
  command.add_option("name", name, "Name of the calibration")
      ->required()
      ->check(IsUtf8())
      ->type_name(type);
}

// ---- build

struct BuildOptions {
  std::string name;
  std::vector<std::string> texts, arms;
  bool lines = false;
  uint32_t trim_top = 0;
  std::optional<uint64_t> live;
};

void BuildFlags(CLI::App& command, BuildOptions& options) {
  NameArgument(command, options.name, "NAME");
  auto* texts =
      command.add_option("--texts", options.texts, "Build it from these files; - = stdin")
          ->type_name("FILE");
  command.add_flag("--lines", options.lines, "Take every line of the files as a text of its own");
  AddNumber(command, "--live", options.live,
            "Build it from the next N tokens that the server routes")
      ->excludes(texts);
  command
      .add_option("--arm", options.arms,
                  "With --live: count tokens of this arm only; may be given several times")
      ->allow_extra_args(false)
      ->check(IsUtf8())
      ->type_name("ARM");
  AddNumber(command, "--trim-top", options.trim_top,
            "Leave out the N largest logits of every token: with the model's own top-k, those of "
            "the experts that run")
      ->capture_default_str();
}

absl::Status AddTexts(const BuildOptions& options, Session& session,
                      v1::BuildCalibrationRequest::Texts* texts) {
  for (const std::string& path : options.texts) {
    auto text = session.FileOrInput(path);
    if (!text.ok()) return text.status();
    if (!options.lines) {
      texts->add_texts(*std::move(text));
      continue;
    }
    for (const absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipWhitespace())) {
      texts->add_texts(std::string(line));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::BuildCalibrationRequest> BuildRequest(const BuildOptions& options,
                                                         Session& session) {
  if (options.texts.empty() && !options.live) {
    return absl::InvalidArgumentError("--texts FILE... or --live N is missing");
  }
  v1::BuildCalibrationRequest request;
  request.set_calibration_id(options.name);
  request.set_trim_top(options.trim_top);
  if (options.live) {
    request.mutable_live()->set_tokens(*options.live);
    request.mutable_live()->mutable_arm_ids()->Add(options.arms.begin(), options.arms.end());
    return request;
  }
  auto status = AddTexts(options, session, request.mutable_texts());
  if (!status.ok()) return status;
  return request;
}

ExitCode Build(const BuildOptions& options, Session& session) {
  const auto request = BuildRequest(options, session);
  if (!request.ok()) return session.UsageError(request.status());
  render::Progress progress(session.err(), session.err_is_terminal());
  progress.Show(options.live ? "waiting for live tokens; Ctrl-C gives up" : "building");
  const auto response = session.rpc().BuildCalibration(*request);
  progress.Clear();
  return PrintCalibration(response, session);
}

// ---- put, get

struct FileOptions {
  std::string name, path;
};

void PutFlags(CLI::App& command, FileOptions& options) {
  NameArgument(command, options.name, "NAME");
  command
      .add_option("file", options.path,
                  "JSON: {\"layers\": [{\"x0\", \"dx\", \"cdf\"} or {\"x\", \"cdf\"}, ...]}; "
                  "- = stdin")
      ->required()
      ->type_name("FILE");
}

ExitCode Put(const FileOptions& options, Session& session) {
  using Layers = std::vector<v1::LayerCdf>;
  const auto layers = session.ParseFile(
      options.path, [&options](const std::string& text) -> absl::StatusOr<Layers> {
        const auto tables = notation::ParseCalibration(text);
        if (!tables.ok()) return tables.status();
        return notation::TablesOf(*tables, options.name);
      });
  if (!layers.ok()) return session.UsageError(layers.status());
  return PrintCalibration(session.rpc().PutCalibration(options.name, *layers), session);
}

void GetFlags(CLI::App& command, FileOptions& options) {
  NameArgument(command, options.name, "CALIBRATION");
  command.add_option("-o,--output", options.path, "Write it into this file; default: stdout")
      ->type_name("FILE");
}

ExitCode Get(const FileOptions& options, Session& session) {
  v1::GetCalibrationRequest request;
  request.set_calibration_id(options.name);
  const auto layers = session.rpc().GetCalibration(request);
  if (!layers.ok()) return session.Fail(layers.status());
  const std::string json = notation::FormatCalibration(options.name, *layers);
  if (options.path.empty()) {
    session.out() << json;
    return ExitCode::kOk;
  }
  std::ofstream file(options.path, std::ios::binary);
  if (!(file << json).flush()) {
    return session.UsageError(
        absl::InvalidArgumentError(absl::StrCat(options.path, ": cannot be written")));
  }
  return ExitCode::kOk;
}

// ---- list, delete

ExitCode List(Session& session) {
  const auto text = [](const v1::ListCalibrationsResponse& response, const render::Style& style) {
    return RenderCalibrations({response.calibrations().begin(), response.calibrations().end()},
                              style);
  };
  return session.PrintReply(session.rpc().ListCalibrations({}), text);
}

struct DeleteOptions {
  std::string name;
};

void DeleteFlags(CLI::App& command, DeleteOptions& options) {
  NameArgument(command, options.name, "CALIBRATION");
}

ExitCode Delete(const DeleteOptions& options, Session& session) {
  v1::DeleteCalibrationRequest request;
  request.set_calibration_id(options.name);
  const auto text = [&options](const v1::DeleteCalibrationResponse&, const render::Style&) {
    return absl::StrCat("deleted: calibration ", options.name, "\n");
  };
  return session.PrintReply(session.rpc().DeleteCalibration(request), text);
}

}  // namespace

void AddCalibration(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& command = *app.add_subcommand(
      "calibration", "Build and manage the tables that bh and hc rules take p-values from");
  command.require_subcommand(1);
  AddCommand<BuildOptions>(command, chosen, "build",
                           "Build a calibration from texts or live tokens", BuildFlags, Build);
  AddCommand<FileOptions>(command, chosen, "put", "Upload a calibration from a file", PutFlags,
                          Put);
  AddCommand<FileOptions>(command, chosen, "get", "Download a calibration as JSON", GetFlags, Get);
  AddCommand(command, chosen, "list", "List the calibrations of the server", List);
  AddCommand<DeleteOptions>(command, chosen, "delete",
                            "Delete a calibration that no plan in use names", DeleteFlags, Delete);
}

}  // namespace olmoe::client::commands
