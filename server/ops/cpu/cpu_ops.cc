// What every step needs but the products: running, rows and their attention.
#include "server/ops/cpu/cpu_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <exception>
#include <new>
#include <system_error>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "glog/logging.h"
#include "server/ops/cpu/for_rows.h"

namespace olmoe::ops {
namespace {

size_t RoundUpToLine(size_t bytes) { return (bytes + 63) / 64 * 64; }

absl::StatusOr<CpuIsa> ChooseIsa(const std::string& name) {
  if (name == "auto") return DetectIsa();
  const std::optional<CpuIsa> isa = ParseIsa(name);
  if (isa.has_value() && Supported(*isa)) return *isa;
  std::string supported;
  for (const CpuIsa other : SupportedIsas()) {
    absl::StrAppend(&supported, supported.empty() ? "" : ", ", std::string(IsaName(other)));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("cpu_isa \"", name, "\": this machine and build have ", supported));
}

}  // namespace

absl::StatusOr<std::unique_ptr<CpuOps>> CpuOps::Create(const OpsOptions& options) {
  if (options.device != "cpu") {
    return absl::InvalidArgumentError(absl::StrCat("device \"", options.device, "\" is not cpu"));
  }
  const absl::StatusOr<CpuIsa> isa = ChooseIsa(options.cpu_isa);
  if (!isa.ok()) return isa.status();
  try {
    return std::unique_ptr<CpuOps>(new CpuOps(options, *isa));
  } catch (const std::exception& error) {  // of memory or threads
    return absl::ResourceExhaustedError(
        absl::StrCat(options.threads, " compute threads: ", error.what(),
                     ": ask for fewer with --threads, or see ulimit -u, the cgroup's pids.max and "
                     "limits of memory"));
  }
}

CpuOps::CpuOps(const OpsOptions& options, CpuIsa isa)
    : options_(options),
      isa_(isa),
      panel_kernels_(PanelKernelsOf(isa)),
      row_kernels_(RowKernelsFor(isa)),
      attention_(isa, options),
      pool_(options.threads),
      attention_memory_(RoundUpToLine(attention_.scratch_bytes()) *
                        static_cast<size_t>(options.threads)) {
  // As the reference has it: inverse frequencies and angles in float32.
  const int half = options_.head_size / 2;
  std::vector<float> frequencies;
  for (int i = 0; i < half; ++i) {
    frequencies.push_back(static_cast<float>(
        1.0 / std::pow(options_.rope_theta, static_cast<double>(i) / static_cast<double>(half))));
  }
  for (int position = 0; position < options_.max_positions; ++position) {
    for (const float frequency : frequencies) {
      const float angle = static_cast<float>(position) * frequency;
      rope_cos_.push_back(std::cos(angle));
      rope_sin_.push_back(std::sin(angle));
    }
  }
}

void CpuOps::PoisonForTesting() {
  memory_.PoisonForTesting();
  std::memset(attention_memory_.data(), 0xff, attention_memory_.bytes());
}

absl::Status CpuOps::Run(const std::function<absl::Status()>& body) {
  running_ = true;
  const absl::Cleanup finish = [&] {
    running_ = false;
    if (packing_.valid()) packing_.wait();
    packing_ = {};
    staging_ = HugeBuffer();
    packed_from_ = HugeBuffer();
  };
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const std::system_error& error) {  // of those that read and pack weights
    return absl::ResourceExhaustedError(absl::StrCat("no thread could be made: ", error.what()));
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

void CpuOps::ParallelFor(int n, const std::function<void(int)>& task) {
  pool_.Run(n, [&](int i) { task(i); });
}

CpuOps::Tensor CpuOps::NewTensor(int64_t rows, int64_t columns) {
  Tensor tensor;
  tensor.memory_ = memory_.Take(static_cast<size_t>(rows * columns) * sizeof(float));
  tensor.data_ = tensor.memory_.as<float>();
  tensor.rows_ = rows;
  tensor.columns_ = tensor.stride_ = columns;
  return tensor;
}

CpuOps::Batch CpuOps::Prepare(const RowBatch& rows) {
  attention_.Plan(rows, &attention_tasks_);
  return {&rows};
}

CpuOps::Tensor CpuOps::Embed(const Matrix& embedding, const Batch& batch) {
  const Tensor x = NewTensor(batch.rows->num_rows(), embedding.weight->in());
  ForRows(&pool_, x.rows(), x.columns(), [&](int64_t row) {
    embedding.weight->UnpackRow(batch.rows->tokens[static_cast<size_t>(row)], x.row(row));
  });
  return x;
}

CpuOps::Tensor CpuOps::RmsNorm(const Tensor& x, const Vector& weight) {
  const Tensor normed = NewTensor(x.rows(), x.columns());
  const float epsilon = static_cast<float>(options_.rms_norm_eps);
  ForRows(&pool_, x.rows(), x.columns(), [&](int64_t row) {
    row_kernels_.rms_norm(x.row(row), weight.data(), x.columns(), epsilon, normed.row(row));
  });
  return normed;
}

CpuOps::Tensor CpuOps::Columns(const Tensor& x, int64_t first, int64_t number) {
  Tensor part = x;
  part.data_ += first;
  part.columns_ = number;
  return part;
}

void CpuOps::Clamp(double limit, Tensor* x) {
  ForRows(&pool_, x->rows(), x->columns(), [&](int64_t row) {
    row_kernels_.clamp(x->row(row), x->columns(), static_cast<float>(limit));
  });
}

void CpuOps::Rope(const Batch& batch, Tensor* x) {
  const size_t half = static_cast<size_t>(options_.head_size / 2);
  const int num_heads = static_cast<int>(x->columns() / options_.head_size);
  ForRows(&pool_, x->rows(), x->columns(), [&](int64_t row) {
    const size_t offset =
        static_cast<size_t>(batch.rows->positions[static_cast<size_t>(row)]) * half;
    row_kernels_.rope(x->row(row), num_heads, options_.head_size, rope_cos_.data() + offset,
                      rope_sin_.data() + offset);
  });
}

void CpuOps::CopyPage(int32_t from, int32_t to, KvPages* pages) {
  const size_t bytes = attention_.page_bytes();
  std::byte* const memory = pages->memory->data();
  std::memcpy(memory + static_cast<size_t>(to) * bytes, memory + static_cast<size_t>(from) * bytes,
              bytes);
}

// Tasks are the strips of positions: lines of memory that no other task writes.
void CpuOps::StoreKv(const Tensor& keys, const Tensor& values, const Batch& batch, KvPages* pages) {
  constexpr int kStrip = KvLayout::kStrip;
  for (const SequenceRows& sequence : batch.rows->sequences) {
    const int first_strip = sequence.first_position / kStrip;
    const int end = sequence.first_position + sequence.num_rows;
    ForRows(&pool_, (end - 1) / kStrip - first_strip + 1, kStrip * keys.columns(), [&](int64_t i) {
      const int strip = first_strip + static_cast<int>(i);
      const int from = std::max(sequence.first_position, strip * kStrip);
      const int64_t row = sequence.first_row + from - sequence.first_position;
      attention_.StoreKv(keys.row(row), keys.stride(), values.row(row), values.stride(),
                         std::min(end, (strip + 1) * kStrip) - from, sequence.pages, from,
                         pages->memory->data());
    });
  }
}

CpuOps::Tensor CpuOps::Attend(const Tensor& queries, const Batch& batch, const KvPages& pages) {
  const Tensor result = NewTensor(queries.rows(), queries.columns());
  const size_t scratch_bytes = RoundUpToLine(attention_.scratch_bytes());
  pool_.Run(static_cast<int>(attention_tasks_.size()), [&](int task, int worker) {
    attention_.Attend(attention_tasks_[static_cast<size_t>(task)], queries.row(0), queries.stride(),
                      pages.memory->data(), result.row(0), result.stride(),
                      attention_memory_.data() + static_cast<size_t>(worker) * scratch_bytes);
    if (panel_kernels_.release_tiles != nullptr) panel_kernels_.release_tiles();
  });
  return result;
}

void CpuOps::Add(const Tensor& x, Tensor* sum) {
  ForRows(&pool_, x.rows(), x.columns(),
          [&](int64_t row) { row_kernels_.add(x.row(row), x.columns(), sum->row(row)); });
}

CpuOps::Tensor CpuOps::SelectRows(const Tensor& x, std::span<const int32_t> rows) {
  const Tensor picked = NewTensor(std::ssize(rows), x.columns());
  ForRows(&pool_, picked.rows(), picked.columns(), [&](int64_t row) {
    std::memcpy(picked.row(row), x.row(rows[static_cast<size_t>(row)]),
                static_cast<size_t>(x.columns()) * sizeof(float));
  });
  return picked;
}

}  // namespace olmoe::ops
