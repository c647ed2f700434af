// For client/trace, until it names server/util.
#ifndef OLMOE_SERVER_MODEL_SAFETENSORS_H_
#define OLMOE_SERVER_MODEL_SAFETENSORS_H_

#include "server/util/safetensors.h"

namespace olmoe::model {

using olmoe::DType;
using olmoe::DTypeName;
using olmoe::SafetensorsEntry;
using olmoe::SafetensorsFile;

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_SAFETENSORS_H_
