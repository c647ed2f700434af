#include "server/ops/aten/aten_ops.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>

#include <cmath>
#include <exception>
#include <functional>
#include <new>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/ops/aten/attention_block.h"
#include "server/ops/aten/cpu_matmul.h"
#include "server/ops/aten/host_libraries.h"

namespace olmoe::ops {
namespace {

absl::Status FromMessage(std::string_view what) {
  const std::string line(what.substr(0, what.find('\n')));
  // Neither allocator of ATen has an exception type of its own in every version.
  const bool memory = absl::StrContains(line, "out of memory") ||
                      absl::StrContains(line, "not enough memory") ||
                      absl::StrContains(line, "can't allocate memory");
  const std::string message = absl::StrCat("LibTorch: ", line);
  return memory ? absl::ResourceExhaustedError(message) : absl::InternalError(message);
}

// Runs `body` in ATen's inference mode. The one place where an exception of LibTorch
// ends: memory -> RESOURCE_EXHAUSTED, everything else -> INTERNAL, one line.
absl::Status RunAten(const std::function<absl::Status()>& body) {
  const c10::InferenceMode inference;
  try {
    return body();
  } catch (const c10::Error& error) {
    return FromMessage(error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const std::exception& error) {  // of the libraries below LibTorch
    return FromMessage(error.what());
  }
}

at::ScalarType ScalarTypeOf(Precision precision) {
  return precision == Precision::kFloat32 ? at::kFloat : at::kBFloat16;
}

// Before anything is tried on it: what LibTorch says then is a page of its registrations.
absl::Status CheckDevice(const std::string& name) {
  const auto refused = [&](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat("device \"", name, "\": ", why));
  };
  std::optional<at::Device> device;
  try {
    device.emplace(name);
  } catch (const c10::Error&) {
  }
  const bool host = device && device->is_cpu() && device->index() <= 0;
  if (host) return absl::OkStatus();
  if (!device || !device->is_cuda()) return refused("is none of cpu, cuda, cuda:0, cuda:1, ...");
  if (!at::hasCUDA()) {
    return refused(
        "this LibTorch has no CUDA device: use --device cpu, or build with a LibTorch "
        "for CUDA (CMAKE_PREFIX_PATH) on a machine with a GPU and its driver");
  }
  const size_t devices = at::getNumGPUs();
  if (device->has_index() && static_cast<size_t>(device->index()) >= devices) {
    return refused(absl::StrCat("this machine has cuda:0 to cuda:", devices - 1));
  }
  return absl::OkStatus();
}

// A tensor that lives as long as the model, not initialized. On the CPU it is
// memory of its own in 2 MiB pages: weights are streamed once a step, and with
// 4 KiB pages the address translation costs up to an eighth of the bandwidth.
at::Tensor NewWeight(at::IntArrayRef sizes, const at::TensorOptions& options) {
  const int64_t elements =
      std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<int64_t>());
  constexpr size_t kHugePageBytes = 2 << 20;
  const size_t bytes = static_cast<size_t>(elements) * options.dtype().itemsize();
  if (!options.device().is_cpu() || bytes < kHugePageBytes) return at::empty(sizes, options);
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  // ATen's allocator then says what is wrong.
  if (memory == MAP_FAILED) return at::empty(sizes, options);
  madvise(memory, bytes, MADV_HUGEPAGE);
  return at::from_blob(memory, sizes, [bytes](void* data) { munmap(data, bytes); }, options);
}

}  // namespace

AtenOps::HostRows::HostRows(at::Tensor rows) : rows_(std::move(rows)) {
  CHECK(rows_.device().is_cpu() && rows_.is_contiguous() && rows_.scalar_type() == at::kFloat);
}

std::span<const float> AtenOps::HostRows::row(int i) const {
  const size_t width = static_cast<size_t>(rows_.size(1));
  return {rows_.data_ptr<float>() + static_cast<size_t>(i) * width, width};
}

absl::StatusOr<std::unique_ptr<AtenOps>> AtenOps::Create(const OpsOptions& options) {
  if (absl::Status status = CheckDevice(options.device); !status.ok()) return status;
  std::unique_ptr<AtenOps> ops;
  const absl::Status status = RunAten([&] {
    ConfigureHostLibraries(options.threads);
    const at::Device device(options.device);
    ops.reset(new AtenOps(options, device));
    ops->BuildRopeTable();
    ops->future_ = at::ones({kQueryBlock, kQueryBlock}, ops->Options(at::kBool)).triu(1);
    return absl::OkStatus();
  });
  if (!status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("device \"", options.device, "\": ", std::string(status.message())));
  }
  return ops;
}

AtenOps::AtenOps(const OpsOptions& options, at::Device device)
    : options_(options), device_(device) {}

at::ScalarType AtenOps::compute_type() const { return ScalarTypeOf(options_.compute); }

at::TensorOptions AtenOps::Options(at::ScalarType type) const {
  return at::TensorOptions().dtype(type).device(device_);
}

at::Tensor AtenOps::ToDevice(std::span<const int64_t> values) const {
  return at::tensor(at::IntArrayRef(values.data(), values.size()), at::kLong).to(device_);
}

// As the reference has it: inverse frequencies and angles in float32.
void AtenOps::BuildRopeTable() {
  const int64_t half = options_.head_size / 2;
  at::Tensor frequencies = at::empty({half}, at::kFloat);
  for (int64_t i = 0; i < half; ++i) {
    const double exponent = static_cast<double>(i) / static_cast<double>(half);
    frequencies[i] = static_cast<float>(1.0 / std::pow(options_.rope_theta, exponent));
  }
  const at::Tensor positions = at::arange(options_.max_positions, at::kFloat);
  const at::Tensor angles = positions.unsqueeze(1) * frequencies.unsqueeze(0);
  rope_cos_ = angles.cos().to(device_);
  rope_sin_ = angles.sin().to(device_);
}

// --- weights ------------------------------------------------------------------

AtenOps::Vector AtenOps::NewVector(int64_t size) { return NewWeight({size}, Options(at::kFloat)); }

AtenOps::Matrix AtenOps::NewMatrix(int64_t out, int64_t in, Precision precision, bool bias) {
  const at::TensorOptions options = Options(ScalarTypeOf(precision));
  return {NewWeight({out, in}, options), bias ? NewWeight({out}, options) : at::Tensor()};
}

AtenOps::Experts AtenOps::NewExperts(int64_t num_experts, int64_t intermediate, int64_t hidden) {
  const at::TensorOptions options = Options(compute_type());
  return {NewWeight({num_experts, 2 * intermediate, hidden}, options),
          NewWeight({num_experts, hidden, intermediate}, options)};
}

AtenOps::KvPages AtenOps::NewKvPages() {
  const at::TensorOptions options = Options(compute_type());
  const std::vector<int64_t> sizes = {options_.num_pages, options_.num_kv_heads,
                                      options_.page_tokens, options_.head_size};
  return {NewWeight(sizes, options), NewWeight(sizes, options)};
}

AtenOps::Block AtenOps::Rows(const Matrix& matrix, int64_t first, int64_t number) {
  return matrix.weight.narrow(0, first, number);
}

AtenOps::Block AtenOps::Bias(const Matrix& matrix, int64_t first, int64_t number) {
  return matrix.bias.narrow(0, first, number);
}

AtenOps::Block AtenOps::Gate(const Experts& experts, int64_t expert) {
  return experts.gate_up.select(0, expert).narrow(0, 0, experts.gate_up.size(1) / 2);
}

AtenOps::Block AtenOps::Up(const Experts& experts, int64_t expert) {
  const int64_t intermediate = experts.gate_up.size(1) / 2;
  return experts.gate_up.select(0, expert).narrow(0, intermediate, intermediate);
}

AtenOps::Block AtenOps::Down(const Experts& experts, int64_t expert) {
  return experts.down.select(0, expert);
}

Precision AtenOps::PrecisionOf(const Block& block) const {
  return block.scalar_type() == at::kFloat ? Precision::kFloat32 : Precision::kBFloat16;
}

void* AtenOps::Stage(const Block& block) {
  CHECK(block.is_contiguous());
  if (device_.is_cpu()) return block.data_ptr();
  staging_ = at::empty(block.sizes(), block.options().device(at::kCPU));
  return staging_.data_ptr();
}

void AtenOps::Commit(const Block& block) {
  if (device_.is_cpu()) return;
  block.copy_(staging_);
  staging_.reset();
}

absl::StatusOr<AtenOps::Matrix> AtenOps::MakeMatrix(int64_t out, int64_t in,
                                                    std::span<const float> values) const {
  CHECK_EQ(std::ssize(values), out * in);
  Matrix matrix;
  const absl::Status status = RunAten([&] {
    matrix.weight = NewWeight({out, in}, Options(at::kFloat));
    // Only read.
    matrix.weight.copy_(at::from_blob(const_cast<float*>(values.data()), {out, in}, at::kFloat));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return matrix;
}

absl::StatusOr<std::vector<float>> AtenOps::ValuesOf(const Matrix& matrix) const {
  std::vector<float> values;
  const absl::Status status = RunAten([&] {
    const at::Tensor rows = matrix.weight.to(at::kCPU, at::kFloat).contiguous();
    values.assign(rows.data_ptr<float>(), rows.data_ptr<float>() + rows.numel());
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return values;
}

// --- running ------------------------------------------------------------------

absl::Status AtenOps::Run(const std::function<absl::Status()>& body) { return RunAten(body); }

void AtenOps::ParallelFor(int n, const std::function<void(int)>& task) {
  at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) task(static_cast<int>(i));
  });
}

AtenOps::Batch AtenOps::Prepare(const RowBatch& rows) {
  std::vector<int64_t> page, offset;
  Batch batch;
  for (const SequenceRows& sequence : rows.sequences) {
    for (int i = 0; i < sequence.num_rows; ++i) {
      const int position = sequence.first_position + i;
      page.push_back(sequence.pages[static_cast<size_t>(position / options_.page_tokens)]);
      offset.push_back(position % options_.page_tokens);
    }
    const int last = sequence.first_position + sequence.num_rows - 1;
    const size_t used_pages = static_cast<size_t>(last / options_.page_tokens) + 1;
    const std::vector<int64_t> pages(sequence.pages.begin(),
                                     sequence.pages.begin() + static_cast<ptrdiff_t>(used_pages));
    batch.sequences.push_back({sequence, ToDevice(pages)});
  }
  batch.page = ToDevice(page);
  batch.offset = ToDevice(offset);
  batch.tokens = ToDevice(std::vector<int64_t>(rows.tokens.begin(), rows.tokens.end()));
  const at::Tensor positions =
      ToDevice(std::vector<int64_t>(rows.positions.begin(), rows.positions.end()));
  batch.cos = rope_cos_.index_select(0, positions).unsqueeze(1);
  batch.sin = rope_sin_.index_select(0, positions).unsqueeze(1);
  return batch;
}

AtenOps::Tensor AtenOps::Embed(const Matrix& embedding, const Batch& batch) {
  return embedding.weight.index_select(0, batch.tokens).to(at::kFloat);
}

AtenOps::Tensor AtenOps::RmsNorm(const Tensor& x, const Vector& weight) {
  const at::Tensor wide = x.to(at::kFloat);
  const at::Tensor mean_square = wide.square().mean(-1, /*keepdim=*/true);
  return (wide * mean_square.add_(options_.rms_norm_eps).rsqrt_()).mul_(weight);
}

AtenOps::Tensor AtenOps::Linear(const Tensor& x, const Matrix& matrix) {
  const at::Tensor operand = x.to(matrix.weight.scalar_type());
  at::Tensor result = at::empty({x.size(0), matrix.weight.size(0)}, matrix.weight.options());
  MatmulTransposed(operand, matrix.weight, result);
  if (matrix.bias.defined()) result.add_(matrix.bias);
  return result;
}

AtenOps::Tensor AtenOps::Columns(const Tensor& x, int64_t first, int64_t number) {
  return x.narrow(1, first, number);
}

void AtenOps::Clamp(double limit, Tensor* x) { *x = x->clamp(-limit, limit); }

void AtenOps::Rope(const Batch& batch, Tensor* x) {
  const int64_t rows = x->size(0);
  const int64_t half = options_.head_size / 2;
  const at::Tensor heads = x->view({rows, -1, 2 * half});
  const at::Tensor first = heads.narrow(2, 0, half);
  const at::Tensor second = heads.narrow(2, half, half);
  *x = at::cat({first * batch.cos - second * batch.sin, second * batch.cos + first * batch.sin}, 2)
           .view({rows, -1});
}

void AtenOps::Add(const Tensor& x, Tensor* sum) { sum->add_(x); }

AtenOps::Tensor AtenOps::SelectRows(const Tensor& x, std::span<const int32_t> rows) {
  return x.index_select(0, ToDevice(std::vector<int64_t>(rows.begin(), rows.end())));
}

AtenOps::HostRows AtenOps::ToHost(const Tensor& x) {
  return HostRows(x.to(at::kCPU, at::kFloat).contiguous());
}

}  // namespace olmoe::ops
