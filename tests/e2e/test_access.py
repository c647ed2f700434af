"""Tokens and TLS of the real server and of olmoectl. Every RPC x every caller is the matrix
of tests/rpc/access_matrix_test.cc."""

import os
import shutil
import ssl
import subprocess

import grpc
import pytest

import api
from certificates import Authority
from server_process import DEADLINE_S, ServerProcess, bin_dir, run_server, wait_until
from test_start import assert_refused

USER = "user-secret-0123456789"
ADMIN = "admin-secret-0123456789"


def secret(path, text):
    """A file that only its owner reads."""
    path.write_text(text)
    path.chmod(0o600)
    return path


class Secured:
    """Mutual TLS and tokens on both ports, with what callers need."""

    def __init__(self, folder, model):
        self.ca = Authority(folder / "ca")
        self.stranger = Authority(folder / "stranger")
        self.cert, self.key = (shutil.copy(path, folder) for path in self.ca.issue("server"))
        self.client = self.ca.issue("client")
        self.users = secret(folder / "users", f"# who may call\nuser:{USER}\n")
        self.admins = secret(folder / "admins", f"admin:{ADMIN}\n")
        self.server = ServerProcess(
            model, "--tls-cert", self.cert, "--tls-key", self.key, "--tls-client-ca", self.ca.cert,
            "--token-file", self.users, "--admin-token-file", self.admins)

    def serve_as(self, identity):
        for source, target in zip(identity, (self.cert, self.key)):
            shutil.copy(source, target)

    def served_certificate(self):
        """What a new connection is shown."""
        return ssl.get_server_certificate(("127.0.0.1", self.server.ports["admin"]))

    def channel(self, token, port="listen"):
        """Of a stock client, with the credentials that every gRPC library has."""
        cert, key = (path.read_bytes() for path in self.client)
        tls = grpc.ssl_channel_credentials(self.ca.cert.read_bytes(), key, cert)
        credentials = grpc.composite_channel_credentials(
            tls, grpc.access_token_call_credentials(token))
        return grpc.secure_channel(self.server.address(port), credentials,
                                   options=[("grpc.use_local_subchannel_pool", 1)])

    def ctl(self, *arguments, ca=None, client="own", token=None, env=None):
        flags = ["--ca", ca or self.ca.cert]
        if client is not None:
            cert, key = self.client if client == "own" else client
            flags += ["--cert", cert, "--key", key]
        if token is not None:
            flags += ["--token-file", token]
        return self.server.ctl(*flags, *arguments, env=env)


@pytest.fixture(scope="module", name="secured")
def _secured(tmp_path_factory, demo_folder):
    secured = Secured(tmp_path_factory.mktemp("access"), demo_folder)
    with secured.server:
        yield secured
        log = secured.server.log()
    assert "secret-" not in log


def test_olmoectl_with_every_credential_is_let_in(secured):
    for command in (("model",), ("health",), ("generate", "Once", "-n", "2")):
        done = secured.ctl(*command, token=secured.users)
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith("[") or not done.stderr
    for command in (("routing",), ("patch", "--top-k", "4"), ("unpatch",), ("model",)):
        done = secured.ctl(*command, token=secured.admins)
        assert done.returncode == 0, done.stderr


def test_a_token_that_is_missing_unknown_or_a_users_is_not_allowed(secured, tmp_path):
    unknown = secret(tmp_path / "unknown", "stranger-secret-0123456789")
    for token, code in ((None, "UNAUTHENTICATED"), (unknown, "UNAUTHENTICATED"),
                        (secured.users, "PERMISSION_DENIED")):
        done = secured.ctl("patch", "--top-k", "4", token=token)
        assert done.returncode == 5
        assert code in done.stderr
    assert secured.ctl("model", token=unknown).returncode == 5


def test_health_needs_no_token(secured):
    assert secured.ctl("health").returncode == 0
    assert secured.ctl("health", "olmoe.v1.RoutingAdminService").returncode == 0


def test_tls_that_does_not_fit_is_unreachable(secured):
    plain = secured.server.ctl("--token-file", secured.users, "model")
    for done in (plain, secured.ctl("model", client=None, token=secured.users),
                 secured.ctl("model", ca=secured.stranger.cert, token=secured.users),
                 secured.ctl("model", client=secured.stranger.issue("client"),
                             token=secured.users)):
        assert done.returncode == 3, done.stderr
        assert "UNAVAILABLE" in done.stderr
    assert "if the port speaks TLS: --ca FILE, or --tls" in plain.stderr


def test_credentials_come_from_the_environment(secured):
    cert, key = secured.client
    env = {**os.environ, "OLMOE_CA": secured.ca.cert, "OLMOE_CERT": cert, "OLMOE_KEY": key,
           "OLMOE_TOKEN_FILE": secured.admins, "OLMOE_ADMIN": secured.server.address("admin")}
    done = subprocess.run([bin_dir() / "olmoectl", "routing"], env=env, capture_output=True,
                          text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr


def test_credential_files_that_cannot_be_used_are_bad_usage(secured, tmp_path):
    absent = tmp_path / "absent"
    for done in (secured.ctl("model", ca=absent), secured.ctl("model", token=absent),
                 secured.server.ctl("--cert", secured.client[0], "model")):
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
    assert str(absent) in secured.ctl("model", token=absent).stderr


def test_a_stock_client_sends_its_token(secured):
    info = api.inference.GetModelInfoRequest()
    with secured.channel(USER) as channel:
        stub = api.inference_grpc.InferenceServiceStub(channel)
        assert stub.GetModelInfo(info, timeout=DEADLINE_S).num_layers
    with secured.channel("stranger-secret-0123456789") as channel:
        stub = api.inference_grpc.InferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as error:
            stub.GetModelInfo(info, timeout=DEADLINE_S)
    assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "does not know this token" in error.value.details()


def test_a_new_certificate_is_served_and_open_connections_go_on(secured):
    info = api.inference.GetModelInfoRequest()
    first = secured.served_certificate()
    with secured.channel(USER) as channel:
        stub = api.inference_grpc.InferenceServiceStub(channel)
        stub.GetModelInfo(info, timeout=DEADLINE_S)
        renewed = secured.ca.issue("renewed")
        secured.serve_as(renewed)
        assert secured.served_certificate() != first
        assert secured.served_certificate().strip() in renewed[0].read_text()
        stub.GetModelInfo(info, timeout=DEADLINE_S)
    assert secured.ctl("model", token=secured.users).returncode == 0


def test_a_certificate_without_its_key_changes_nothing(secured):
    served = secured.served_certificate()
    other = secured.ca.issue("other")
    shutil.copy(other[0], secured.cert)
    assert secured.served_certificate() == served
    wait_until(lambda: "TLS goes on as before" in secured.server.log(), "it is logged")
    shutil.copy(other[1], secured.key)
    assert secured.served_certificate() != served


def test_a_token_is_replaced_while_the_server_runs(secured, tmp_path):
    old = secret(tmp_path / "old", secured.users.read_text())
    try:
        secured.users.write_text("user:next-secret-0123456789\n")
        assert secured.ctl("model", token=old).returncode == 5
        assert secured.ctl("model", token=secured.users).returncode == 0
        secured.users.write_text("")
        assert secured.ctl("model", token=old).returncode == 5
        wait_until(lambda: "the tokens before stay good" in secured.server.log(), "it is logged")
    finally:
        secured.users.write_text(old.read_text())
    assert secured.ctl("model", token=old).returncode == 0


# ---- Starts that fail

def test_a_token_file_that_cannot_be_used_is_named(demo_folder, tmp_path):
    for flag, path in (("--token-file", tmp_path / "absent"),
                       ("--admin-token-file", secret(tmp_path / "empty", "")),
                       ("--admin-token-file", secret(tmp_path / "short", "pin-1234"))):
        done = run_server(demo_folder, flag, path)
        assert_refused(done, 1, path)
        assert "pin-1234" not in done.stderr


def test_tls_files_that_cannot_be_used_are_named(demo_folder, tmp_path):
    ca = Authority(tmp_path / "ca")
    cert, key = ca.issue("server")
    _, other_key = ca.issue("other")
    assert_refused(run_server(demo_folder, "--tls-cert", cert, "--tls-key", other_key), 1, cert,
                   other_key, "does not belong")
    assert_refused(run_server(demo_folder, "--tls-cert", cert, "--tls-key", key,
                              "--tls-client-ca", key), 1, key, "client CA")


def test_an_empty_name_of_a_file_is_bad_usage(demo_folder):
    assert_refused(run_server(demo_folder, "--admin-token-file", ""), 2, "--admin-token-file")
