"""A completion of the package that the server does not finish before the test reads it, and why:
tests/e2e/unread_stream.py."""

import olmoe
from olmoe import _endpoint

# The window of a stream stays as small as it begins, so that what is not read stays unsent.
_endpoint.CHANNEL_OPTIONS += (("grpc.http2.bdp_probe", 0),)
# Keywords of stream(). Also where its first part was read, which is 1 MiB at most.
UNREAD = {"max_new_tokens": 1000, "temperature": 0, "ignore_eos": True, "logprobs": 20,
          "trace": olmoe.TraceOptions(weights=True, logits=True)}
