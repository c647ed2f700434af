"""A request that ends when the test wants it, on a machine of any speed.

Nobody reads the answers of an UnreadStream, and traces make them heavy. When the window of HTTP/2
and the server's buffers are full, the server pauses it: it keeps its slot, its pages and its plan,
and computes nothing, until the test reads or cancels it. What shares its server runs on; on a
server with one slot everything else waits (the fixture `busy`).

As a program it is a client that does not read, for tests that kill one:

    python unread_stream.py HOST:PORT
"""

import sys
import time

import grpc

import api
from api import inference
from server_process import DEADLINE_S, wait_until

# What is certainly not taken by one stream: twice max_pending_bytes (1 MiB in a message under way,
# as much behind it), 64 KiB of window and 64 KiB of gRPC's own.
TOO_MUCH_BYTES = (2 << 20) + (192 << 10)
HOLD_S = 30 * DEADLINE_S
# The window of a stream stays as small as it begins.
CHANNEL_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.http2.bdp_probe", 0))


def heavy_request(info, prompt, **fields):
    """A greedy request whose answers are too much for a reader that does not read."""
    token_bytes = info.num_layers * (4 * info.num_experts + 4 * info.default_top_k)
    count = -(-TOO_MUCH_BYTES // token_bytes)
    assert len(prompt) + count <= info.max_context, "the model's context is too short to be held"
    trace = inference.TraceOptions(experts=True, weights=True, logits=True)
    return api.tokens_request(prompt, count, logprobs=20, trace=trace, **fields)


class UnreadStream:
    """A GenerateStream call on a connection of its own. As a context manager it is running when the
    block begins, and cancelled at its end."""

    def __init__(self, server, prompt=(1,)):
        self.server = server
        request = heavy_request(server.model_info(), prompt)
        self.max_new_tokens = request.max_new_tokens
        self._channel = grpc.insecure_channel(server.address(), options=CHANNEL_OPTIONS)
        stub = api.inference_grpc.InferenceServiceStub(self._channel)
        self._call = stub.GenerateStream(request, timeout=HOLD_S)
        self._started = None

    @property
    def started(self):
        """The first message."""
        if self._started is None:
            self._started = next(self._call).started
        return self._started

    def await_running(self):
        """Until it has a slot, pages and tokens."""
        wait_until(lambda: self.server.is_generating(self.started.request_id),
                   "the stream is running")
        return self

    def read(self):
        """Lets it go on to its end; all that is left of its events."""
        return list(self._call)

    def close(self):
        """Cancels what is left of it."""
        self._call.cancel()
        self._channel.close()

    def __enter__(self):
        return self.await_running()

    def __exit__(self, *_):
        self.close()


def main():
    with grpc.insecure_channel(sys.argv[1], options=CHANNEL_OPTIONS) as channel:
        stub = api.inference_grpc.InferenceServiceStub(channel)
        info = stub.GetModelInfo(inference.GetModelInfoRequest(), timeout=DEADLINE_S)
        call = stub.GenerateStream(heavy_request(info, [1]), timeout=HOLD_S)
        print(next(call).started.request_id, flush=True)
        time.sleep(HOLD_S)


if __name__ == "__main__":
    main()
