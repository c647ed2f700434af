# olmoe-model-benchmark: the model beside the limits of the machine and of plain ATen.
add_executable(olmoe-model-benchmark model_benchmark.cc bare_step.cc limits.cc)
target_link_libraries(olmoe-model-benchmark PRIVATE olmoe_flags olmoe_model CLI11::CLI11
                      nlohmann_json::nlohmann_json)
