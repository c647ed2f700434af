// For client/trace, until it names server/util.
#ifndef OLMOE_SERVER_MODEL_FILE_ERRORS_H_
#define OLMOE_SERVER_MODEL_FILE_ERRORS_H_

#include "server/util/file_errors.h"

namespace olmoe::model {

using olmoe::InvalidFile;
using olmoe::InvalidTensor;

}  // namespace olmoe::model

#endif  // OLMOE_SERVER_MODEL_FILE_ERRORS_H_
