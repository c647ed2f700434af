#ifndef OLMOE_SERVER_MODEL_LOG_SOFTMAX_H_
#define OLMOE_SERVER_MODEL_LOG_SOFTMAX_H_

#include <span>

namespace olmoe::model {

// Whether no value is NaN or infinite.
bool AllFinite(std::span<const float> values);

// log(sum(exp(values))) of finite values, at least one. Terms are float32, accurate to
// 2 units in the last place, and their sum is double, so the result is within 1e-6.
double LogSumExp(std::span<const float> values);

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_LOG_SOFTMAX_H_
