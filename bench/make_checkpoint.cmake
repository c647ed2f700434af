# Links the generator of tests/support, so it is built where the tests are.
if(TARGET olmoe_synthetic_checkpoint)
  add_executable(olmoe-make-checkpoint make_checkpoint.cc)
  target_link_libraries(olmoe-make-checkpoint PRIVATE olmoe_synthetic_checkpoint CLI11::CLI11)
endif()
