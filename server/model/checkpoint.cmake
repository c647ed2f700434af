# Reading a checkpoint: config.json, safetensors files, their contents. Needs neither
# LibTorch nor gRPC.
olmoe_library(olmoe_checkpoint
  SRCS checkpoint.cc checkpoint_files.cc checkpoint_layout.cc checkpoint_load.cc
       config.cc convert.cc hashing_ring.cc
  DEPS olmoe_util absl::flat_hash_map absl::flat_hash_set absl::status absl::statusor
       absl::strings absl::synchronization absl::time glog::glog Threads::Threads)
