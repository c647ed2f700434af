#ifndef OLMOE_SERVER_OPS_ATEN_HOST_LIBRARIES_H_
#define OLMOE_SERVER_OPS_ATEN_HOST_LIBRARIES_H_

namespace olmoe::ops {

// Settings of the libraries below ATen, for the whole process: `threads` OpenMP
// threads, the caller among them, are its only compute threads (no inter-op pool, BLAS
// without threads of its own, which would fight with the others for the cores), and
// BLAS and oneDNN use instructions that this CPU really has. Must run before the first
// ATen product and before other threads read the environment.
void ConfigureHostLibraries(int threads);

}  // namespace olmoe::ops

#endif  // OLMOE_SERVER_OPS_ATEN_HOST_LIBRARIES_H_
