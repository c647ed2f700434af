"""Tokens and TLS, with the certificates of the end-to-end tests."""

import asyncio

import pytest

import models
import olmoe
from certificates import Authority
from server_process import DEADLINE_S, ServerProcess

USER, ADMIN = "user-secret-0123456789abcdef", "root-secret-0123456789abcdef"


@pytest.fixture(scope="module", name="secured")
def _secured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("access")
    ca = Authority(folder / "ca")
    cert, key = ca.issue("server")
    (folder / "users").write_text(f"alice:{USER}\n")
    (folder / "admins").write_text(f"root:{ADMIN}\n")
    with ServerProcess(models.demo_model(), "--tls-cert", cert, "--tls-key", key,
                       "--tls-client-ca", ca.cert, "--token-file", folder / "users",
                       "--admin-token-file", folder / "admins") as server:
        client_cert, client_key = ca.issue("client")
        server.access = {"ca": ca.cert, "cert": client_cert, "key": client_key}
        server.stranger = Authority(folder / "stranger")
        yield server


def test_a_client_with_every_credential_is_let_in(secured):
    with olmoe.Client(secured.address(), token=USER, timeout=DEADLINE_S,
                      **secured.access) as client:
        client.wait_ready()
        assert client.generate("Once", 2).stamp.arm == "default"
        assert list(client.stream("Once", 2))
    with olmoe.Admin(secured.address("admin"), token=ADMIN, timeout=DEADLINE_S,
                     **secured.access) as admin:
        with admin.patched(olmoe.TopK(4)) as patch:
            assert patch.result.current.actor == "root"
            with admin.watch_routing() as watch:
                assert next(watch).current.generation == patch.generation


def test_asyncio_sends_the_token_too(secured):
    async def calls():
        async with olmoe.AsyncClient(secured.address(), token=USER, timeout=DEADLINE_S,
                                     **secured.access) as client:
            await client.wait_ready()
            async for _ in client.stream("Once", 2):
                pass
            return await client.model_info()

    assert asyncio.run(calls()).has_tokenizer


def test_tokens_that_are_missing_unknown_or_a_users_are_refused_each_in_its_way(secured):
    for token, kind in ((None, olmoe.Unauthenticated), ("stranger", olmoe.Unauthenticated),
                        (USER, olmoe.PermissionDenied)):
        with olmoe.Admin(secured.address("admin"), token=token, timeout=DEADLINE_S,
                         **secured.access) as admin:
            assert admin.health()
            with pytest.raises(kind):
                admin.patch(olmoe.TopK(4))
            with pytest.raises(kind):
                next(admin.watch_routing())


def test_tls_that_does_not_fit_is_unavailable(secured):
    stranger_cert, stranger_key = secured.stranger.issue("client")
    for access in ({}, {"ca": secured.access["ca"]}, {**secured.access,
                                                       "ca": secured.stranger.cert},
                   {**secured.access, "cert": stranger_cert, "key": stranger_key}):
        with olmoe.Client(secured.address(), token=USER, timeout=DEADLINE_S, **access) as client:
            with pytest.raises(olmoe.Unavailable):
                client.model_info()


def test_files_that_cannot_be_used_are_named(secured, tmp_path):
    with pytest.raises(OSError, match="absent"):
        olmoe.Client(ca=tmp_path / "absent")
    with pytest.raises(ValueError, match="both or none"):
        olmoe.Client(cert=secured.access["cert"])


def test_a_token_that_would_be_readable_on_its_way_is_warned_of(recwarn):
    for target in ("127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/x"):
        olmoe.Client(target, token="t").close()
    assert not recwarn.list
    with pytest.warns(UserWarning, match="example:1 can be read on the way"):
        olmoe.Client("example:1", token="t").close()
