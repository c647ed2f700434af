"""What two readers could understand differently is refused, not guessed at."""

import contextlib

import pytest

from edge_server import BARE

POST = b"POST /healthz HTTP/1.1\r\nHost: a\r\n"
MALFORMED = {
    "two lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunked": POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
                                 b"0\r\n\r\n",
    "bare line feeds": b"GET /healthz HTTP/1.1\nHost: a\n\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "folded field": b"GET /healthz HTTP/1.1\r\nHost: a\r\nx: y\r\n z\r\n\r\n",
    "unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n",
    "space before the colon": b"GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n",
    "negative length": POST + b"Content-Length: -1\r\n\r\n",
}


def status_of(victim, request):
    """The status code; also where the server ends the connection behind it."""
    with victim.connect("http") as sock:
        sock.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while b"\r\n" not in answer and (piece := sock.recv(4096)):
                answer += piece
    assert answer.startswith(b"HTTP/1."), answer
    return int(answer.split(b" ")[1])


@pytest.mark.parametrize("name", MALFORMED)
def test_an_ambiguous_request_is_a_bad_request(name, arena):
    assert status_of(arena.victim(BARE), MALFORMED[name]) == 400


def test_a_well_formed_one_is_answered(arena):
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\nx: y\r\nConnection: close\r\n\r\n"
    assert status_of(arena.victim(BARE), request) == 200
