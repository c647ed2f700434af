# Tests of olmoe_checkpoint and of the generator of synthetic checkpoints.
olmoe_test(config_test SRCS config_test.cc DEPS olmoe_checkpoint olmoe_synthetic_checkpoint)
olmoe_test(convert_test SRCS convert_test.cc DEPS olmoe_checkpoint)
olmoe_test(checkpoint_test SRCS checkpoint_test.cc checkpoint_open_test.cc checkpoint_variants_test.cc
  DEPS olmoe_checkpoint olmoe_synthetic_checkpoint olmoe_test_support)
