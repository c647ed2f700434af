# olmoe-model-benchmark: the model beside the limits of the machine.
add_executable(olmoe-model-benchmark model_benchmark.cc limits.cc report.cc step_work.cc)
target_link_libraries(olmoe-model-benchmark PRIVATE olmoe_flags olmoe_model olmoe_ops_cpu
                      absl::statusor absl::strings absl::str_format CLI11::CLI11
                      nlohmann_json::nlohmann_json)
