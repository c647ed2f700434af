"""Where calls go and with what: arguments, then the environment that olmoectl reads, then defaults.

    OLMOE_SERVER, OLMOE_ADMIN            addresses
    OLMOE_CA, OLMOE_CERT, OLMOE_KEY      PEM files
    OLMOE_TOKEN_FILE                     the first token of its [NAME:]TOKEN lines is sent
    OLMOE_TLS                            TLS with the authorities that the system trusts

An empty variable is none.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import pathlib
import re
import warnings
from typing import ClassVar

import grpc

from olmoe import _check

PathLike = str | os.PathLike[str]

# What gRPC resolves by itself; everything else is HOST:PORT.
_RESOLVED = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "vsock:", "xds:")
# What CLI11, which reads olmoectl's flags, takes for them.
_TRUE = ("1", "true", "on", "yes", "enable", "t", "y")
_FALSE = ("0", "false", "off", "no", "disable", "f", "n")


@dataclasses.dataclass(frozen=True)
class Port:
    """One of the server's ports: its name, its service, which variable has its address, and the
    default."""

    name: str
    service: str
    variable: str
    default: str


PUBLIC = Port("public", "olmoe.v1.InferenceService", "OLMOE_SERVER", "127.0.0.1:50051")
ADMIN = Port("admin", "olmoe.v1.RoutingAdminService", "OLMOE_ADMIN", "127.0.0.1:50052")


# ---- Addresses

def _address(name: str, target: str, port: Port) -> str:
    """ValueError, with the right form, for what is neither HOST:PORT nor a form of gRPC's."""
    if target.startswith(_RESOLVED):
        return target
    right, tls = _right_form(target.strip(), port.default.rpartition(":")[2]), ""
    if right == target:
        return target
    if target.lower().startswith(("https:", "grpcs:")):
        tls = " with tls=True"
    raise ValueError(f"{name} must be HOST:PORT, as in {right!r}{tls}, is {target!r}")


def _right_form(target: str, default_port: str) -> str:
    """HOST:PORT of what was probably meant."""
    if target.startswith(("/", "./")):
        return f"unix:{target}"
    place = re.split(r"[/?#]", re.sub(r"^\w+://|\s", "", target))[0].rpartition("@")[2]
    bracketed = re.fullmatch(r"\[(.*)\]:?(\d*)", place)
    if bracketed:
        host, number = bracketed.groups()
    elif ":" not in place or _is_ipv6(place):
        host, number = ("", place) if place.isdecimal() else (place, "")
    else:
        host, _, number = place.rpartition(":")
    if ":" in host:
        host = f"[{host}]" if _is_ipv6(host) else host.rpartition(":")[2]
    fits = number.isascii() and number.isdecimal() and 0 < int(number) < 65536
    return f"{host or '127.0.0.1'}:{number if fits else default_port}"


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def _host(target: str) -> str:
    """The host of an address, without the brackets of IPv6."""
    for prefix in _RESOLVED:
        target = target.removeprefix(prefix)
    return target.rpartition("/")[2].rpartition(":")[0].strip("[]")


def stays_here(target: str) -> bool:
    """Whether what is sent there does not leave this machine."""
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    host = _host(target)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _goes_direct(host: str, exempt: str) -> bool:
    """Whether an entry of no_proxy, the end of a name or a network, is about a host."""
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(exempt, strict=False)
    except ValueError:
        return bool(exempt) and host.endswith(exempt)


def proxy_of(target: str) -> str:
    """The proxy of the environment that gRPC takes to an address, in words; "" for none."""
    if stays_here(target):
        return ""
    host = _host(target)
    direct = os.environ.get("no_grpc_proxy") or os.environ.get("no_proxy") or ""
    if any(_goes_direct(host, each.strip()) for each in direct.split(",")):
        return ""
    for variable in ("grpc_proxy", "https_proxy", "http_proxy"):
        if value := os.environ.get(variable):  # the first counts, if only to be ignored
            if not value.lower().startswith("http://"):
                return ""
            # Without the user's name and password, which may stand before the @.
            return f"the proxy {value.rpartition('://')[2].rpartition('@')[2]} ({variable})"
    return ""


# ---- Credentials

def _read(name: str, path: PathLike) -> bytes:
    """OSError, which names the file, where it cannot be read; ValueError for an empty one."""
    try:
        content = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise OSError(error.errno, f"{name}: {error.strerror}", os.fspath(path)) from None
    if not content.strip():
        raise ValueError(f"{name} {os.fspath(path)}: it is empty")
    return content


def _check_token(name: str, token: str) -> str:
    """What HTTP takes as a field's value. The message does not quote it: it is a secret."""
    if not isinstance(token, str):
        raise TypeError(f"{name} must be a str, not {type(token).__name__}")
    if not re.fullmatch(r"[!-~]+", token):
        raise ValueError(f"{name} must be printable ASCII without spaces, and not empty")
    return token


def _first_token(name: str, path: PathLike) -> str:
    """Of a file in the server's format, so that the file of one side serves the other."""
    for line in _read(name, path).decode(errors="replace").splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            token = line.partition(":")[2] if ":" in line else line
            if re.fullmatch(r"[!-~]+", token):
                return token
            break
    raise ValueError(f"{name} {os.fspath(path)}: no [NAME:]TOKEN line")


def _flag(variable: str) -> bool:
    value = os.environ.get(variable, "").lower()
    if value and value not in (*_TRUE, *_FALSE):
        raise ValueError(f"{variable} must be true or false, is {value!r}")
    return value in _TRUE


def _path(name: str, value: object) -> PathLike:
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise TypeError(f"{name} must be a path, not {value!r}")
    return value


@dataclasses.dataclass(frozen=True)
class Access:
    """Who calls, and whom it trusts, as arguments say it; the rest comes from the environment."""

    token: str | None = None
    token_file: PathLike | None = None
    ca: PathLike | None = None
    cert: PathLike | None = None
    key: PathLike | None = None
    tls: bool | None = None

    def _given(self, argument: str) -> tuple[str, PathLike | None]:
        """The name and the value of the argument, or of its variable."""
        value: PathLike | None = getattr(self, argument)
        if value is not None:
            return argument, _path(argument, value)
        variable = f"OLMOE_{argument.upper()}"
        if self.tls is False and argument != "token_file":
            return variable, None
        return variable, os.environ.get(variable) or None

    def credentials(self) -> grpc.ChannelCredentials | None:
        """None: plaintext. OSError for a file that cannot be read, ValueError for half a pair."""
        tls = _check.optional(_check.boolean, "tls", self.tls)
        if tls is None:
            tls = _flag("OLMOE_TLS")
        given = [self._given(argument) for argument in ("ca", "key", "cert")]
        (_, ca), (key_name, key), (cert_name, cert) = given
        if (cert is None) != (key is None):
            raise ValueError(f"{cert_name} and {key_name}: both or none")
        if not tls and ca is None and cert is None:
            return None
        return grpc.ssl_channel_credentials(
            *(None if path is None else _read(name, path) for name, path in given))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call. gRPC's own call credentials would refuse plaintext, which
        loopback and a mesh's proxy are."""
        if self.token is not None and self.token_file is not None:
            raise ValueError("token and token_file: one of the two")
        if self.token is not None:
            token = _check_token("token", self.token)
        else:
            name, path = self._given("token_file")
            if path is None:
                return ()
            token = _first_token(name, path)
        return (("authorization", f"Bearer {token}"),)


# Answers grow with traces and tables; the server bounds them. A connection of its own for each
# client: closing one closes it.
CHANNEL_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))


class Endpoint:
    """An address with what a connection to it takes. Immutable.

    TypeError and ValueError name the argument, or the variable that stood for it; OSError the file.
    """

    def __init__(self, port: Port, target: str | None, access: Access, *, timeout: float | None,
                 retries: int) -> None:
        name, given = ("target", target) if target is not None else (
            port.variable, os.environ.get(port.variable) or port.default)
        self._port = port
        self.target = _address(name, _check.text(name, given), port)
        self.credentials = access.credentials()
        self.metadata = access.metadata()
        self._timeout = _check.wait("timeout", timeout)
        self.retries = _check.integer("retries", retries)
        self._proxy = proxy_of(self.target)
        if self.metadata and self.credentials is None and not stays_here(self.target):
            warnings.warn(f"a token sent to {self.target} can be read on the way: use ca= or "
                          "tls=True", stacklevel=3)

    def limit(self, timeout: float | None) -> float | None:
        """Seconds for a call that asks for `timeout`; None: no limit."""
        return self._timeout if timeout is None else _check.wait("timeout", timeout)

    def explain(self, code: grpc.StatusCode, message: str) -> str:
        """The message of a failed call, with what may be the reason where gRPC does not say it."""
        hints = []
        # Without a message the method is absent; the other one is of the health service.
        if (code is grpc.StatusCode.UNIMPLEMENTED and not message) or (
                code is grpc.StatusCode.NOT_FOUND and message == "service name unknown"):
            hints.append(f"{self.target} does not have this method: is it the {self._port.name} "
                         "port of a server of this version?")
        if code is grpc.StatusCode.UNAVAILABLE:
            if self.credentials is None and "Socket closed" in message:
                hints.append("a server with TLS closes plaintext connections: give ca= or tls=True")
            if "WRONG_VERSION_NUMBER" in message:
                hints.append("the port speaks no TLS")
        if self._proxy and code in (grpc.StatusCode.UNAVAILABLE,
                                    grpc.StatusCode.DEADLINE_EXCEEDED):
            hints.append(f"the call went through {self._proxy}; no_proxy lists hosts without one")
        return "; ".join([message, *hints] if message else hints)

    def options(self) -> tuple[tuple[str, int], ...]:
        """Of the channel. What stays on this machine takes no proxy: there it would be lost."""
        direct = (("grpc.enable_http_proxy", 0),) if stays_here(self.target) else ()
        return CHANNEL_OPTIONS + direct


class PortClient:
    """What all clients of a port have: the arguments that say where it is and who calls."""

    _port: ClassVar[Port]

    def __init__(self, target: str | None = None, *, token: str | None = None,
                 token_file: PathLike | None = None, ca: PathLike | None = None,
                 cert: PathLike | None = None, key: PathLike | None = None,
                 tls: bool | None = None, timeout: float | None = None,
                 retries: int = 0) -> None:
        access = Access(token, token_file, ca, cert, key, tls)
        self._open(Endpoint(self._port, target, access, timeout=timeout, retries=retries))

    def _open(self, endpoint: Endpoint) -> None:
        """Makes what the client calls over."""
        raise NotImplementedError
