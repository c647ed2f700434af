// The functions behind PanelKernels, by instruction set: panel_kernels.h says what each
// does. Included by files that are compiled for one: nothing but declarations.
#ifndef OLMOE_SERVER_OPS_CPU_PANEL_FUNCTIONS_H_
#define OLMOE_SERVER_OPS_CPU_PANEL_FUNCTIONS_H_

#include <cstdint>

#include "server/ops/cpu/panel_task.h"

namespace olmoe::ops {

void LinearBf16Portable(const PanelTask& task);
void LinearF32Portable(const PanelTask& task);
void SwiGluBf16Portable(const PanelTask& task);
void SwiGluF32Portable(const PanelTask& task);

void LinearBf16Avx2(const PanelTask& task);
void LinearF32Avx2(const PanelTask& task);
void SwiGluBf16Avx2(const PanelTask& task);
void SwiGluF32Avx2(const PanelTask& task);

void LinearBf16Avx512(const PanelTask& task);
void LinearF32Avx512(const PanelTask& task);
void SwiGluBf16Avx512(const PanelTask& task);
void SwiGluF32Avx512(const PanelTask& task);

void LinearBf16Amx(const PanelTask& task);
void SwiGluBf16Amx(const PanelTask& task);
void ReleaseTilesAmx();

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_CPU_PANEL_FUNCTIONS_H_
