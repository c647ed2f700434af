#ifndef OLMOE_TESTS_MODEL_KERNEL_NAMES_H_
#define OLMOE_TESTS_MODEL_KERNEL_NAMES_H_

#include <algorithm>
#include <string>
#include <vector>

#include "server/ops/cpu/isa.h"

namespace olmoe::model {

// The kernels of every instruction set of this machine, the best last.
inline std::vector<std::string> CpuKernelNames() {
  std::vector<std::string> names;
  for (const ops::CpuIsa isa : ops::SupportedIsas()) names.emplace_back(ops::IsaName(isa));
  return names;
}

// All that LoadOptions::cpu_isa can name: the reference before those.
inline std::vector<std::string> KernelNames() {
  std::vector<std::string> names = CpuKernelNames();
  names.insert(names.begin(), "aten");
  return names;
}

// Such a name as part of the name of a test.
inline std::string TestName(std::string kernels) {
  std::erase(kernels, '-');
  return kernels;
}

}  // namespace olmoe::model

#endif  // OLMOE_TESTS_MODEL_KERNEL_NAMES_H_
