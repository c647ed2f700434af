"""A command in a network of its own, where every port is free: loopback and nothing else.

    unshare -rn python own_network.py COMMAND ...
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys

import pytest

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def prefix(*ports):
    """What a command that needs these ports begins with.

    Where the kernel allows no network of its own: nothing, if the ports are free, else skips.
    """
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, __file__]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
        return command
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                pytest.skip(f"no network of its own is allowed here, and port {port} is taken")
    return []


def raise_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
        request = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", fcntl.ioctl(some, SIOCGIFFLAGS, request)[:18])[1]
        fcntl.ioctl(some, SIOCSIFFLAGS, struct.pack("16sh", b"lo", flags | IFF_UP))


if __name__ == "__main__":
    raise_loopback()
    os.execvp(sys.argv[1], sys.argv[1:])
