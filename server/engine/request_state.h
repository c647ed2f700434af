#ifndef OLMOE_SERVER_ENGINE_REQUEST_STATE_H_
#define OLMOE_SERVER_ENGINE_REQUEST_STATE_H_

namespace olmoe::engine {

// Where an accepted request is in its life.
//
//   kQueued ---> kRunning <---> kPaused
//      |            |             |
//      +----------> kEnded <------+
enum class RequestState {
  // Accepted; has no slot and no pages, nothing of it has been computed.
  kQueued,
  // At least one of its sequences has had a slot; takes part in steps.
  kRunning,
  // Its reader is behind: keeps its slots and pages, computes nothing.
  kPaused,
  // Holds nothing; OnDone is its next and last callback.
  kEnded,
};

constexpr bool IsLegalTransition(RequestState from, RequestState to) {
  switch (from) {
    case RequestState::kQueued: return to == RequestState::kRunning || to == RequestState::kEnded;
    case RequestState::kRunning: return to == RequestState::kPaused || to == RequestState::kEnded;
    case RequestState::kPaused: return to == RequestState::kRunning || to == RequestState::kEnded;
    case RequestState::kEnded: return false;
  }
  return false;
}

}  // namespace olmoe::engine

#endif  // OLMOE_SERVER_ENGINE_REQUEST_STATE_H_
