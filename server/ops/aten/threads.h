#ifndef OLMOE_SERVER_OPS_ATEN_THREADS_H_
#define OLMOE_SERVER_OPS_ATEN_THREADS_H_

namespace olmoe::ops {

// Makes ATen's OpenMP threads the only compute threads of the process, `threads` of
// them counting the caller: no inter-op pool, and BLAS without threads of its own,
// which would fight with the others for the cores.
void ConfigureThreads(int threads);

// Keeps oneDNN from AMX where CPUID announces the instructions but not the tile
// palette (leaf 1DH, hidden by some hypervisors): it would configure no tiles and
// die by SIGILL. Must run before the first oneDNN call. An ISA set by the operator
// (ONEDNN_MAX_CPU_ISA, DNNL_MAX_CPU_ISA) stands.
void AvoidBrokenAmx();

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_ATEN_THREADS_H_
