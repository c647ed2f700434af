"""Where calls go: addresses, the environment that olmoectl reads too, proxies."""

import asyncio
import socket

import pytest

import models
import olmoe
from certificates import Authority
from olmoe._endpoint import PUBLIC, Access, Endpoint, proxy_of
from server_process import DEADLINE_S, ServerProcess

USER, ADMIN = "user-secret-0123456789abcdef", "root-secret-0123456789abcdef"
VARIABLES = ("OLMOE_SERVER", "OLMOE_ADMIN", "OLMOE_TOKEN_FILE", "OLMOE_CA", "OLMOE_CERT",
             "OLMOE_KEY", "OLMOE_TLS", "grpc_proxy", "https_proxy", "http_proxy", "no_proxy",
             "no_grpc_proxy")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def endpoint(target=None, **access):
    return Endpoint(PUBLIC, target, Access(**access), timeout=None, retries=0)


# ---- Addresses

@pytest.mark.parametrize("target", [
    "127.0.0.1:50051", "localhost:1", "example.org:443", "[::1]:50051", "olmoe-server:50051",
    "unix:/run/olmoe.sock", "unix:olmoe.sock", "unix-abstract:olmoe", "dns:///localhost:50051",
    "ipv4:127.0.0.1:50051", "ipv6:[::1]:50051"])
def test_addresses_of_grpc_are_taken_as_they_are(target):
    assert endpoint(target).target == target


@pytest.mark.parametrize(("target", "right"), [
    ("http://localhost:50051", "'localhost:50051'"),
    ("http://localhost:50051/", "'localhost:50051'"),
    ("https://olmoe.example:8443/v1", "'olmoe.example:8443' with tls=True"),
    ("HTTP://localhost:50051", "'localhost:50051'"),
    ("grpc://localhost:50051", "'localhost:50051'"),
    ("grpcs://localhost:50051", "'localhost:50051' with tls=True"),
    ("tcp://10.0.0.1:50051", "'10.0.0.1:50051'"),
    ("http://me:secret@localhost:50051", "'localhost:50051'"),
    ("http://localhost", "'localhost:50051'"),
    ("localhost", "'localhost:50051'"),
    ("localhost:", "'localhost:50051'"),
    ("localhost:port", "'localhost:50051'"),
    ("localhost:0", "'localhost:50051'"),
    ("localhost:65536", "'localhost:50051'"),
    ("localhost:50051/", "'localhost:50051'"),
    (" localhost:50051", "'localhost:50051'"),
    ("50051", "'127.0.0.1:50051'"),
    (":50051", "'127.0.0.1:50051'"),
    ("", "'127.0.0.1:50051'"),
    ("::1", "'[::1]:50051'"),
    ("[::1]", "'[::1]:50051'"),
    ("http://[::1]:50052", "'[::1]:50052'"),
    ("/run/olmoe.sock", "'unix:/run/olmoe.sock'"),
])
def test_other_forms_are_refused_with_the_right_one(target, right):
    for kind in (olmoe.Client, olmoe.AsyncClient):
        with pytest.raises(ValueError) as error:
            kind(target)
        assert f"target must be HOST:PORT, as in {right}, is" in str(error.value)


def test_the_port_of_a_form_without_one_is_that_of_the_service(monkeypatch):
    with pytest.raises(ValueError, match="as in 'localhost:50052', is"):
        olmoe.Admin("http://localhost")
    monkeypatch.setenv("OLMOE_ADMIN", "grpc://localhost:7")
    with pytest.raises(ValueError, match="OLMOE_ADMIN must be HOST:PORT, as in 'localhost:7', is"):
        olmoe.Admin()


# ---- The environment

def test_addresses_come_from_the_arguments_then_the_environment_then_the_default(monkeypatch):
    assert endpoint().target == "127.0.0.1:50051"
    monkeypatch.setenv("OLMOE_SERVER", "")
    assert endpoint().target == "127.0.0.1:50051"
    monkeypatch.setenv("OLMOE_SERVER", "example:1")
    assert endpoint().target == "example:1"
    assert endpoint("example:2").target == "example:2"


def test_a_token_file_is_that_of_olmoectl(monkeypatch, tmp_path):
    def sent(**access):
        return dict(endpoint(**access).metadata).get("authorization")

    file = tmp_path / "tokens"
    file.write_text("# users\n\n  alice:the-first:token  \nbob:second\n")
    other = tmp_path / "other"
    other.write_text("plain\n")
    assert sent() is None
    assert sent(token_file=file) == "Bearer the-first:token"
    monkeypatch.setenv("OLMOE_TOKEN_FILE", str(other))
    assert sent() == "Bearer plain"
    assert sent(token_file=str(file)) == "Bearer the-first:token"
    assert sent(token="mine") == "Bearer mine"
    with pytest.raises(ValueError, match="token and token_file: one of the two"):
        endpoint(token="mine", token_file=file)


def test_files_that_cannot_be_used_are_named_with_what_named_them(monkeypatch, tmp_path):
    empty = tmp_path / "empty"
    empty.write_text("\n")
    comment = tmp_path / "comment"
    comment.write_text("# nothing\n")
    spaces = tmp_path / "spaces"
    spaces.write_text("alice: two words\n")
    for file, said in ((empty, "it is empty"), (comment, r"no \[NAME:\]TOKEN line"),
                       (spaces, r"no \[NAME:\]TOKEN line")):
        with pytest.raises(ValueError, match=f"token_file {file}: {said}"):
            endpoint(token_file=file)
        monkeypatch.setenv("OLMOE_TOKEN_FILE", str(file))
        with pytest.raises(ValueError, match=f"OLMOE_TOKEN_FILE {file}: {said}"):
            endpoint()
    monkeypatch.delenv("OLMOE_TOKEN_FILE")
    with pytest.raises(FileNotFoundError, match="ca: No such file or directory: .*absent"):
        endpoint(ca=tmp_path / "absent")
    with pytest.raises(IsADirectoryError, match="ca: "):
        endpoint(ca=tmp_path)
    monkeypatch.setenv("OLMOE_CA", str(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="OLMOE_CA: No such file"):
        endpoint()
    monkeypatch.delenv("OLMOE_CA")
    monkeypatch.setenv("OLMOE_CERT", str(comment))
    with pytest.raises(ValueError, match="OLMOE_CERT and OLMOE_KEY: both or none"):
        endpoint()


@pytest.mark.parametrize("token", ["", "two words", "line\n", "ümlaut", "\x00"])
def test_a_token_that_cannot_be_sent_is_refused_and_not_quoted(token):
    with pytest.raises(ValueError, match="^token must be printable ASCII without spaces, and not "
                                         "empty$"):
        endpoint(token=token)


def test_tls_comes_from_the_environment_and_can_be_refused(monkeypatch):
    assert endpoint().credentials is None
    for value in ("1", "true", "ON", "yes"):
        monkeypatch.setenv("OLMOE_TLS", value)
        assert endpoint().credentials is not None
        assert endpoint(tls=False).credentials is None
    for value in ("", "0", "false", "off"):
        monkeypatch.setenv("OLMOE_TLS", value)
        assert endpoint().credentials is None
        assert endpoint(tls=True).credentials is not None
    monkeypatch.setenv("OLMOE_TLS", "perhaps")
    with pytest.raises(ValueError, match="OLMOE_TLS must be true or false, is 'perhaps'"):
        endpoint()


def test_a_client_without_arguments_speaks_to_the_server_of_the_environment(monkeypatch, tmp_path):
    ca = Authority(tmp_path / "ca")
    cert, key = ca.issue("server")
    (tmp_path / "users").write_text(f"alice:{USER}\n")
    (tmp_path / "admins").write_text(f"root:{ADMIN}\n")
    with ServerProcess(models.demo_model(), "--tls-cert", cert, "--tls-key", key,
                       "--token-file", tmp_path / "users",
                       "--admin-token-file", tmp_path / "admins") as server:
        monkeypatch.setenv("OLMOE_SERVER", server.address())
        monkeypatch.setenv("OLMOE_ADMIN", server.address("admin"))
        monkeypatch.setenv("OLMOE_CA", str(ca.cert))
        monkeypatch.setenv("OLMOE_TOKEN_FILE", str(tmp_path / "admins"))
        with olmoe.Client(timeout=DEADLINE_S) as client, olmoe.Admin(timeout=DEADLINE_S) as admin:
            assert client.generate("Once", 1).stamp.generation
            assert admin.patch("top-k=4").current.actor == "root"

        async def call():
            async with olmoe.AsyncClient(timeout=DEADLINE_S) as client:
                return await client.generate("Once", 1)

        assert asyncio.run(call()).stamp.generation
        # The same variables are olmoectl's; an argument wins over them.
        assert server.ctl("routing").returncode == 0
        with olmoe.Admin(token_file=tmp_path / "users", timeout=DEADLINE_S) as admin:
            with pytest.raises(olmoe.PermissionDenied):
                admin.routing()


# ---- Another port than was meant

def test_a_port_of_another_kind_is_told(server, tmp_path):
    def said(call):
        with pytest.raises(olmoe.OlmoeError) as error:
            call()
        return str(error.value)

    ca = Authority(tmp_path / "ca")
    with olmoe.Client(server.address("admin"), timeout=DEADLINE_S) as client:
        for call in (client.model_info, client.health, client.wait_ready,
                     lambda: next(client.stream("a", 1))):
            assert "does not have this method: is it the public port" in said(call)
    with olmoe.Admin(server.address(), timeout=DEADLINE_S) as admin:
        assert "does not have this method: is it the admin port" in said(admin.routing)
    with olmoe.Client(server.address(), ca=ca.cert, timeout=DEADLINE_S) as client:
        assert "the port speaks no TLS" in said(client.model_info)
    cert, key = ca.issue("server")
    with ServerProcess(models.demo_model(), "--tls-cert", cert, "--tls-key", key) as secured, \
            olmoe.Client(secured.address(), timeout=DEADLINE_S) as client:
        assert "a server with TLS closes plaintext connections: give ca=" in said(client.model_info)


# ---- Proxies

@pytest.fixture(name="proxy")
def _proxy():
    """The address of a proxy that refuses every connection."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")


@pytest.mark.parametrize("variable", PROXIES)
def test_loopback_goes_direct(server, proxy, monkeypatch, variable):
    monkeypatch.setenv(variable, f"http://{proxy}")
    port = server.ports["listen"]
    for target in (f"127.0.0.1:{port}", f"localhost:{port}", f"ipv4:127.0.0.1:{port}"):
        with olmoe.Client(target, timeout=DEADLINE_S) as client:
            assert client.health()
            assert client.stream("Once", 1).result().stamp.generation

    async def call():
        async with olmoe.AsyncClient(server.address(), timeout=DEADLINE_S) as client:
            return await client.health()

    assert asyncio.run(call())


@pytest.mark.parametrize("variable", PROXIES)
def test_elsewhere_the_message_names_the_proxy_without_its_password(proxy, monkeypatch, variable):
    monkeypatch.setenv(variable, f"http://me:secret@{proxy}")
    said = f"the proxy {proxy} ({variable})"

    async def call():
        async with olmoe.AsyncClient("olmoe.invalid:50051", timeout=DEADLINE_S) as client:
            await client.model_info()

    with olmoe.Client("olmoe.invalid:50051", timeout=DEADLINE_S) as client:
        for fail in (client.model_info, lambda: next(client.stream("Once", 1)),
                     lambda: asyncio.run(call())):
            with pytest.raises(olmoe.Unavailable) as error:
                fail()
            assert said in str(error.value)
            assert "secret" not in str(error.value)


def test_hosts_that_no_proxy_is_for_are_not_said_to_have_one(proxy, monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://{proxy}")
    assert proxy_of("olmoe.example:1")
    for variable in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.setenv(variable, "localhost, .example,10.0.0.0/8")
        assert not proxy_of("olmoe.example:1")
        assert not proxy_of("10.1.2.3:1")
        assert proxy_of("example.org:1")
        monkeypatch.delenv(variable)
    monkeypatch.setenv("grpc_proxy", "socks5://127.0.0.1:1")  # gRPC ignores it, and https_proxy
    assert not proxy_of("olmoe.example:1")
    monkeypatch.delenv("grpc_proxy")
    for target in ("unix:/run/x", "127.0.0.2:1", "[::1]:1", "localhost:1"):
        assert not proxy_of(target)
