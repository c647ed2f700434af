"""Traffic of an experiment with two arms, and what its replies say it was."""

import collections
import threading
import time
import zlib

import grpc

import api
from api import admin, inference, routing
from server_process import DEADLINE_S
from unread_stream import CHANNEL_OPTIONS, HOLD_S, heavy_request

TEXT = "Once upon a time there was a little fox who lived in a wood and had many friends. "
ARMS = ("control", "thin")
THIN_K = 4
CALIBRATION = "traffic"


def build_calibration(server):
    request = admin.BuildCalibrationRequest(calibration_id=CALIBRATION, trim_top=8)
    request.texts.texts.append(TEXT * 20)
    server.admin.BuildCalibration(request, timeout=DEADLINE_S)


def make_plan(salt):
    """The model's own routing, with Benjamini-Hochberg analyzed, against fewer experts."""
    control = routing.RoutingPolicy(policy_id="own")
    control.analyze.bh.CopyFrom(routing.BenjaminiHochberg(
        alpha=0.12, min_k=2, max_k=12, calibration_id=CALIBRATION))
    return admin.RoutingPlan(salt=salt, arms=[
        admin.Arm(arm_id="control", weight=50, policy=control),
        admin.Arm(arm_id="thin", weight=50, policy=api.top_k_policy(THIN_K, "thin")),
    ])


class Traffic:
    """Threads that call the server until they are told to stop. The arms of the plan only
    get requests that succeed, so that replies account for all that was counted: what is
    cancelled or late brings a policy of its own. Thread-safe."""

    def __init__(self, server):
        self._server = server
        self._info = server.model_info()
        self._unread_channel = grpc.insecure_channel(server.address(), options=CHANNEL_OPTIONS)
        self._unread_stub = api.inference_grpc.InferenceServiceStub(self._unread_channel)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.failures = []
        self.requests = collections.Counter()     # by (arm, method, code); arm "" is refused
        self.assignments = collections.Counter()  # by (arm, reason)
        self.activations = collections.Counter()  # (token, layer, expert) by arm
        self.nats = collections.Counter()         # negative log-likelihood by arm
        self.scored_tokens = collections.Counter()
        self._threads = [threading.Thread(target=self._run, args=(index, calls))
                         for index, calls in enumerate([
                             [self._generate, self._score],
                             [self._score, self._generate],
                             [self._generate, self._cancel, self._bad, self._late, self._score],
                         ])]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._unread_channel.close()

    def enough(self):
        """Whether each arm has what the rules ask for before they say anything."""
        with self._lock:
            return (all(self.assignments[arm, reason] >= 10
                        for arm in ARMS for reason in ("split", "random_unit"))
                    and all(self.activations[arm] >= 2000 * THIN_K * 2 * self._info.num_layers
                            for arm in ARMS))

    def _run(self, index, calls):
        turn = 0
        try:
            while not self._stop.wait(0.02):
                calls[turn % len(calls)](f"{index}-{turn}")
                turn += 1
        except Exception as error:  # pylint: disable=broad-exception-caught
            self.failures.append(error)

    def _count(self, method, code, stamp=None, usage=None):
        arm = stamp.arm_id if stamp else ""
        with self._lock:
            self.requests[arm, method, code] += 1
            if stamp:
                reason = routing.AssignmentReason.Name(stamp.reason)
                self.assignments[arm, reason.removeprefix("ASSIGNMENT_REASON_").lower()] += 1
            if usage:
                self.activations[arm] += usage.expert_activations

    @staticmethod
    def _unit(name):
        """A unit for half of the requests, as no two have the same."""
        return {"unit_id": f"unit-{name}"} if zlib.crc32(name.encode()) % 2 else {}

    def _generate(self, name):
        request = inference.GenerateRequest(text=TEXT, max_new_tokens=12, **self._unit(name))
        reply = self._server.generate(request)
        self._count("Generate", "OK", reply.routing, reply.usage)

    def _score(self, name):
        items = [inference.ScoreItem(context_text="Once upon a time", continuation_text=text)
                 for text in (" there was a fox", TEXT * 2)]
        reply = self._server.score(*items, **self._unit(name))
        self._count("Score", "OK", reply.routing, reply.usage)
        with self._lock:
            for result in reply.results:
                self.nats[reply.routing.arm_id] -= result.logprob_sum
                self.scored_tokens[reply.routing.arm_id] += result.token_count

    def _unread(self, timeout):
        """A stream that the server does not finish, under a policy of its own."""
        selector = inference.RoutingSelector(policy=api.top_k_policy(1, "own-policy"))
        request = heavy_request(self._info, [1], routing=selector)
        return self._unread_stub.GenerateStream(request, timeout=timeout)

    def _cancel(self, _):
        call = self._unread(HOLD_S)
        stamp = next(call).started.routing
        call.cancel()
        self._count("GenerateStream", "CANCELLED", stamp)

    def _late(self, _):
        assert self._unread(0.1).code() == grpc.StatusCode.DEADLINE_EXCEEDED

    def _bad(self, _):
        try:
            self._server.generate(inference.GenerateRequest(text=TEXT, max_new_tokens=0))
        except grpc.RpcError as error:
            self._count("Generate", error.code().name)


def wait_for_traffic(traffic, seconds):
    """Until there was traffic for so long, and enough."""
    end = time.monotonic() + seconds
    return lambda: traffic.failures or (time.monotonic() > end and traffic.enough())
