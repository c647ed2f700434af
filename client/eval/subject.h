#ifndef OLMOE_CLIENT_EVAL_SUBJECT_H_
#define OLMOE_CLIENT_EVAL_SUBJECT_H_

#include <string>

#include "olmoe/v1/inference.pb.h"

namespace olmoe::client::eval {

// One routing to evaluate.
struct Subject {
  std::string name = {};
  std::string routing = {};           // "top-k 4", for tables
  v1::RoutingSelector selector = {};  // unset: what the server routes with
  std::string digest = {};            // of the policy, as the server's stamp says
};

}  // namespace olmoe::client::eval

#endif  // OLMOE_CLIENT_EVAL_SUBJECT_H_
