"""The real olmoe-server and olmoectl as child processes."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import urllib.request

import grpc

import api

# Generous: sanitizer builds on a busy machine are slow. Nothing waits this long in vain
# unless it fails.
DEADLINE_S = 120


def bin_dir():
    return pathlib.Path(os.environ.get("OLMOE_BIN_DIR", api.SOURCE_DIR / "build/release/bin"))


@contextlib.contextmanager
def running(command, **options):
    """A child process that does not outlive the block, however that ends."""
    with subprocess.Popen(command, **options) as process:
        try:
            yield process
        finally:
            process.kill()  # of one that has ended: nothing


def server_command(model, *flags):
    return [str(bin_dir() / "olmoe-server"), "--model", str(model), *map(str, flags)]


def run_server(model, *flags, ports=("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
                                     "--http-listen", "127.0.0.1:0")):
    """A start that is expected to fail: the finished process."""
    return subprocess.run(server_command(model, *ports, *flags), capture_output=True, text=True,
                          timeout=DEADLINE_S, check=False)


def wait_until(condition, what, deadline_s=DEADLINE_S):
    """Polls `condition` until it is true; fails with `what` at the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"still not after {deadline_s} s: {what}"
        time.sleep(0.02)


class ServerProcess:
    """A server on free ports, from ready to gone; readers may be as slow as they like. Use as a
    context manager.

    `listen` and `admin_listen` may be Unix sockets; `prefix` is a command that starts the server
    in its place, such as prlimit."""

    def __init__(self, model, *flags, http_port=0, stderr=None, listen="127.0.0.1:0",
                 admin_listen="127.0.0.1:0", prefix=()):
        self._folder = tempfile.TemporaryDirectory(prefix="olmoe-e2e-")
        folder = pathlib.Path(self._folder.name)
        self._ports_file = folder / "ports.json"
        self.log_path = folder / "server.log"
        self._channels = {}
        if "--slow-reader-timeout" not in flags:
            flags = ("--slow-reader-timeout", "24h", *flags)
        self._unix = listen if listen.startswith("unix:") else None
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [*prefix, *server_command(model, "--listen", listen, "--admin-listen",
                                          admin_listen, "--http-listen", f"127.0.0.1:{http_port}",
                                          "--ports-file", self._ports_file, *flags)],
                stdout=log, stderr=log if stderr is None else stderr)
        try:
            wait_until(self._is_ready, "the server is ready")
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.ports = json.loads(self._ports_file.read_text())

    def _is_ready(self):
        assert self.process.poll() is None, f"the server did not start:\n{self.log()}"
        return self._ports_file.exists()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for channel in self._channels.values():
            channel.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._folder.cleanup()

    def log(self):
        return self.log_path.read_text(errors="replace")

    def address(self, name="listen"):
        if name == "listen" and self._unix:
            return self._unix
        return f"127.0.0.1:{self.ports[name]}"

    def channel(self, name="listen"):
        """The shared channel to a port."""
        if name not in self._channels:
            self._channels[name] = self.new_channel(name)
        return self._channels[name]

    def new_channel(self, name="listen"):
        """A connection of its own."""
        return grpc.insecure_channel(self.address(name),
                                     options=[("grpc.use_local_subchannel_pool", 1)])

    @property
    def stub(self):
        return api.inference_grpc.InferenceServiceStub(self.channel())

    @property
    def admin(self):
        return api.admin_grpc.RoutingAdminServiceStub(self.channel("admin"))

    def generate(self, request):
        return self.stub.Generate(request, timeout=DEADLINE_S)

    def greedy(self, ids, count):
        """The reply to a greedy request of token ids."""
        return self.generate(api.tokens_request(ids, count))

    def score(self, *items, **fields):
        return self.stub.Score(api.inference.ScoreRequest(items=items, **fields),
                               timeout=DEADLINE_S)

    def patch(self, policy, **fields):
        return self.admin.PatchRouters(api.admin.PatchRoutersRequest(policy=policy, **fields),
                                       timeout=DEADLINE_S)

    def unpatch(self):
        return self.admin.UnpatchRouters(api.admin.UnpatchRoutersRequest(), timeout=DEADLINE_S)

    @contextlib.contextmanager
    def patched(self, policy):
        """The policy for all traffic; the model's own routing afterwards."""
        reply = self.patch(policy)
        try:
            yield reply
        finally:
            self.unpatch()

    def model_info(self):
        return self.stub.GetModelInfo(api.inference.GetModelInfoRequest(), timeout=DEADLINE_S)

    def status(self):
        return self.admin.GetServerStatus(api.admin.GetServerStatusRequest(), timeout=DEADLINE_S)

    def is_generating(self, request_id):
        """Whether this request has a slot, pages and its first token."""
        return any(request.request_id == request_id and request.completion_tokens > 0
                   for request in self.status().requests)

    def http(self, path):
        """(status code, body) of a GET."""
        try:
            with urllib.request.urlopen(f"http://{self.address('http')}{path}",
                                        timeout=DEADLINE_S) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name):
        """The sum over all series of a metric."""
        code, text = self.http("/metrics")
        assert code == 200
        values = re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
        assert values, f"/metrics has no {name}"
        return sum(map(float, values))

    def kv_used_bytes(self):
        return self.metric("olmoe_kv_cache_used_bytes")

    def wait_until_idle(self):
        """Until no request waits, and none holds pages of the KV cache."""
        def idle():
            status = self.admin.GetServerStatus(api.admin.GetServerStatusRequest())
            return status.running_requests == 0 and status.queued_requests == 0
        wait_until(idle, "no request is left")
        wait_until(lambda: self.kv_used_bytes() == 0, "olmoe_kv_cache_used_bytes is 0")

    def rss_bytes(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def terminate(self):
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def ctl_command(self, *arguments):
        return [str(bin_dir() / "olmoectl"), "--server", self.address(), "--admin",
                self.address("admin"), *map(str, arguments)]

    def ctl(self, *arguments, **options):
        """A finished olmoectl that talks to this server."""
        options = {"capture_output": True, "text": True, "timeout": DEADLINE_S, **options}
        return subprocess.run(self.ctl_command(*arguments), check=False, **options)

    def ctl_json(self, *arguments):
        """What olmoectl --json printed; it must succeed."""
        done = self.ctl("--json", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
