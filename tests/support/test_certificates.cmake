olmoe_library(olmoe_test_certificates SRCS test_certificates.cc DEPS OpenSSL::Crypto absl::strings
              absl::time glog::glog)
