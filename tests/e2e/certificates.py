"""Certificates made by openssl, with the commands of docs/guide/access.md."""

import pathlib
import subprocess


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.cert = self.folder / "ca.pem"
        self._key = self.folder / "ca.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-days", 2, "-subj", f"/CN={self.folder.name}", "-keyout", self._key,
                 "-out", self.cert)

    def issue(self, name):
        """(certificate, key): files for localhost and 127.0.0.1."""
        cert, key, request, san = (self.folder / f"{name}.{kind}"
                                   for kind in ("pem", "key", "csr", "san"))
        san.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        _openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        _openssl("x509", "-req", "-days", 2, "-in", request, "-CA", self.cert, "-CAkey", self._key,
                 "-CAcreateserial", "-extfile", san, "-out", cert)
        return cert, key
