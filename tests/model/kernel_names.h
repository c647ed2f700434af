#ifndef OLMOE_TESTS_MODEL_KERNEL_NAMES_H_
#define OLMOE_TESTS_MODEL_KERNEL_NAMES_H_

#include <algorithm>
#include <string>
#include <vector>

#include "server/ops/cpu/isa.h"

namespace olmoe::model {

// All that LoadOptions::cpu_isa can be on this machine: the reference, and the kernels of
// every instruction set.
inline std::vector<std::string> KernelNames() {
  std::vector<std::string> names = {"aten"};
  for (const ops::CpuIsa isa : ops::SupportedIsas()) names.emplace_back(ops::IsaName(isa));
  return names;
}

// Such a name as part of the name of a test.
inline std::string TestName(std::string kernels) {
  std::erase(kernels, '-');
  return kernels;
}

}  // namespace olmoe::model

#endif  // OLMOE_TESTS_MODEL_KERNEL_NAMES_H_
