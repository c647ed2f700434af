"""HTTP/2 by hand, as a hostile client writes it: frames, and a gRPC client that keeps only those
rules that it is told to keep. Not a library: one thread a connection, headers uncompressed."""

import select
import socket
import struct
import time

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    0, 1, 3, 4, 6, 7, 8, 9)
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4  # a setting
CANCEL = 8
DEFAULT_WINDOW = 65_535
HUGE_WINDOW = 2**31 - 1
MAX_FRAME = 16_384


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings(**values):
    """Frame of settings by number: settings(s4=65535)."""
    return frame(SETTINGS, 0, 0, b"".join(
        struct.pack(">HI", int(name[1:]), value) for name, value in values.items()))


def window_update(stream, increment):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def reset(stream, code=CANCEL):
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def varint(value):
    """Seven bits a byte, the lowest first; HPACK's and that of Protocol Buffers."""
    coded = bytearray()
    while value >= 128:
        coded.append(value % 128 + 128)
        value //= 128
    coded.append(value)
    return bytes(coded)


def string_length(length):
    """What stands before a string literal of HPACK that is not Huffman-coded."""
    return bytes([length]) if length < 127 else b"\x7f" + varint(length - 127)


def _string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return string_length(len(data)) + data


def encode(fields):
    """A header block of literals that no table remembers."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in fields)


def grpc_fields(path, *more):
    return [(":method", "POST"), (":scheme", "http"), (":path", path),
            (":authority", "localhost"), ("te", "trailers"),
            ("content-type", "application/grpc"), *more]


def grpc_message(data, compressed=False):
    return struct.pack(">BI", compressed, len(data)) + data


def readable(sock, timeout_s):
    """Whether something, or the end, comes within this time. For descriptors above 1,023 too."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(max(0, timeout_s) * 1000))


class Closed(ConnectionError):
    """The other side has ended the connection."""


class Stream:
    """What has come on a stream."""

    def __init__(self, window):
        self.send_window = window
        self.fields = {}  # of headers and trailers
        self.body = b""
        self.received = 0
        self.closed = False

    @property
    def status(self):
        """grpc-status, None while there is none. 14 for what a proxy or a reset ended."""
        if "grpc-status" in self.fields:
            return int(self.fields["grpc-status"])
        return 14 if self.closed else None

    def message(self):
        """The only message."""
        length, = struct.unpack(">I", self.body[1:5])
        assert len(self.body) == 5 + length
        return self.body[5:]


class Connection:
    """A client's connection. Acknowledges settings and pings and gives windows back as it reads;
    `acknowledges`, `window` and never calling pump() are how it misbehaves."""

    def __init__(self, sock, acknowledges=True, window=DEFAULT_WINDOW):
        self.sock = sock
        self._acknowledges = acknowledges
        self._decoder = hpack.Decoder()
        self._input = b""
        self._streams = {}
        self._next_id = 1
        self._send_window = DEFAULT_WINDOW
        self._peer_stream_window = DEFAULT_WINDOW
        self._header_block = b""
        self._huge = window == HUGE_WINDOW
        self.send(PREFACE + settings(s4=window))
        if self._huge:
            self.send(window_update(0, HUGE_WINDOW - DEFAULT_WINDOW))

    def send(self, data):
        try:
            self.sock.sendall(data)
        except TimeoutError:
            raise
        except OSError as error:
            raise Closed(str(error)) from error

    # ---- streams

    def open(self, path, *more_fields, end=False):
        """Headers of a call; returns the stream's id."""
        stream = self._next_id
        self._next_id += 2
        self._streams[stream] = Stream(self._peer_stream_window)
        self.send(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream,
                        encode(grpc_fields(path, *more_fields))))
        return stream

    def stream(self, stream):
        return self._streams[stream]

    def send_body(self, stream, body, deadline, end=True):
        """As flow control allows; returns early when the stream has ended. TimeoutError."""
        state = self._streams[stream]
        view = memoryview(body)
        sent = 0
        while sent < len(view) and not state.closed:
            room = min(self._send_window, state.send_window)
            if room <= 0:
                self.pump(deadline)
                continue
            piece = view[sent:sent + min(room, 4 * MAX_FRAME)]
            self._send_window -= len(piece)
            state.send_window -= len(piece)
            sent += len(piece)
            frames = [frame(DATA, 0, stream, bytes(piece[at:at + MAX_FRAME]))
                      for at in range(0, len(piece), MAX_FRAME)]
            self.send(b"".join(frames))
            self.pump(None)
        if end and not state.closed:
            self.send(frame(DATA, END_STREAM, stream))

    def unary(self, path, data, timeout_s, *more_fields):
        """A call from headers to trailers; returns its Stream. TimeoutError, Closed."""
        deadline = time.monotonic() + timeout_s
        stream = self.open(path, *more_fields)
        self.send_body(stream, grpc_message(data), deadline)
        return self.finish(stream, deadline)

    def finish(self, stream, deadline):
        while not self._streams[stream].closed:
            self.pump(deadline)
        return self._streams.pop(stream)

    # ---- what comes

    def pump(self, deadline):
        """Takes what has come; waits for something until `deadline` (None: does not wait)."""
        wait = 0 if deadline is None else deadline - time.monotonic()
        if not getattr(self.sock, "pending", lambda: 0)():
            if not readable(self.sock, wait):
                if deadline is None:
                    return
                raise TimeoutError("nothing came")
        try:
            data = self.sock.recv(1 << 18)
        except OSError as error:
            raise Closed(str(error)) from error
        if not data:
            raise Closed("end of the connection")
        self._input += data
        while len(self._input) >= 9:
            length = int.from_bytes(self._input[:3], "big")
            if len(self._input) < 9 + length:
                break
            kind, flags, stream = struct.unpack(">BBI", self._input[3:9])
            payload = self._input[9:9 + length]
            self._input = self._input[9 + length:]
            self._take(kind, flags, stream, payload)

    def _take(self, kind, flags, stream, payload):
        state = self._streams.get(stream)
        if kind == SETTINGS and not flags & ACK:
            self._take_settings(payload)
        elif kind == PING and not flags & ACK and self._acknowledges:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == WINDOW_UPDATE:
            increment, = struct.unpack(">I", payload)
            if stream == 0:
                self._send_window += increment
            elif state is not None:
                state.send_window += increment
        elif kind in (HEADERS, CONTINUATION):
            self._header_block += payload
            if flags & END_HEADERS:
                fields = self._decoder.decode(self._header_block)
                self._header_block = b""
                if state is not None:
                    state.fields.update(fields)
        elif kind == DATA:
            if state is not None:
                state.body += payload
                state.received += len(payload)
            if payload and not self._huge:
                self.send(window_update(0, len(payload)))
                if state is not None and not flags & END_STREAM:
                    self.send(window_update(stream, len(payload)))
        elif kind == RST_STREAM and state is not None:
            state.closed = True
        if kind in (HEADERS, DATA) and flags & END_STREAM and state is not None:
            state.closed = True

    def _take_settings(self, payload):
        for at in range(0, len(payload), 6):
            number, value = struct.unpack(">HI", payload[at:at + 6])
            if number == INITIAL_WINDOW_SIZE:
                for state in self._streams.values():
                    state.send_window += value - self._peer_stream_window
                self._peer_stream_window = value
        if self._acknowledges:
            self.send(frame(SETTINGS, ACK, 0))


def connect(address, source=None, timeout_s=10.0, receive_buffer=None):
    """A TCP connection, from `source` (an address of this machine's loopback) if given."""
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(timeout_s)
    try:
        if source is not None:
            sock.bind((source, 0))
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock
