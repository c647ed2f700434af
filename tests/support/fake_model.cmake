# What tests of the engine and of the servers above it run instead of a checkpoint.
olmoe_library(olmoe_fake_model
  SRCS fake_model.cc
  DEPS olmoe_routing olmoe_util absl::status absl::strings absl::synchronization glog::glog)
