# Tiny checkpoints for tests, large ones for measurements (bench/make_checkpoint.cc).
if(TARGET olmoe_checkpoint)
  olmoe_library(olmoe_synthetic_checkpoint
    SRCS synthetic_checkpoint.cc synthetic_config.cc synthetic_weights.cc
    DEPS olmoe_checkpoint absl::status absl::statusor absl::str_format absl::strings
         absl::synchronization absl::time glog::glog nlohmann_json::nlohmann_json
         Threads::Threads)
endif()
