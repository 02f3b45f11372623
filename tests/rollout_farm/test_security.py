"""Who gets in: tokens, certificates, and workers that would be open to strangers."""

import contextlib
import datetime
import ipaddress
import os
import re
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

from mdx.config import load_config
from mdx.errors import FarmError, UsageError
from mdx.lammps.run import RunRequest, RunStatus
from rollout_farm import wire
from rollout_farm.cli import main
from rollout_farm.client import Farm
from rollout_farm.config import ClientSecurity, SecurityConfig, WorkerConfig
from rollout_farm.security import check_exposure, load_access, load_guard, read_token
from trainers.farm_config import FarmConfig

SCRIPT = RunRequest(script="units lj\n")


@dataclass(frozen=True)
class Authority:
    """An authority whose certificate is the file `path`."""

    path: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def sign(self, name: str) -> tuple[str, str]:
        """Return the files of a certificate for the host `name` and of its private key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _build(name, key, self.certificate.subject, self.key, is_authority=False)
        stem = f"{self.path}.{name}"
        return _write(f"{stem}.cert", certificate), _write(f"{stem}.key", key)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("security")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return make_authority(folder, "authority")


@pytest.fixture(scope="module")
def token_worker(serve, folder: Path) -> Iterator[object]:
    with serve("--token-file", _token(folder / "right", "sesame")) as served:
        yield served


@pytest.fixture(scope="module")
def tls_worker(serve, authority: Authority) -> Iterator[object]:
    cert, key = authority.sign("127.0.0.1")
    with serve("--tls-cert", cert, "--tls-key", key) as served:
        yield served


@pytest.fixture(scope="module")
def mutual_worker(serve, authority: Authority) -> Iterator[object]:
    cert, key = authority.sign("127.0.0.1")
    options = ("--tls-cert", cert, "--tls-key", key, "--tls-client-ca", authority.path)
    with serve(*options) as served:
        yield served


def test_right_token_gets_in(token_worker, folder):
    security = ClientSecurity(token_file=_token(folder / "right", "sesame"))
    with Farm(token_worker.address, security=security) as farm:
        assert farm.run(SCRIPT).status is RunStatus.OK


@pytest.mark.parametrize(("token", "reason"), [("", "none was given"), ("wrong", "another token")])
def test_other_token_is_refused_once_and_at_once(token_worker, folder, token, reason):
    security = ClientSecurity(token_file=_token(folder / "wrong", token) if token else "")
    started = time.monotonic()
    with pytest.raises(FarmError, match=f"{reason}.*--farm-token-file"):
        Farm(token_worker.address, security=security, connect_timeout_s=20.0)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("method", [wire.RUN_METHOD, wire.STATUS_METHOD, "/other.Service/Any"])
def test_every_method_wants_the_token(token_worker, method):
    with grpc.insecure_channel(token_worker.address) as channel:
        for header in ("Bearer wrong", "Bearer sesame ", "bearer sesame", "sesame", "Bearer"):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(method)(b"", metadata=(("authorization", header),), timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_wrong_tokens_are_counted(serve, folder, free_port):
    listen = f"127.0.0.1:{free_port}"
    token = _token(folder / "right", "sesame")
    with serve("--token-file", token, f"metrics_listen={listen}") as worker:
        with grpc.insecure_channel(worker.address) as channel:
            for _ in range(2):
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary(wire.STATUS_METHOD)(b"", timeout=5)
        text = urllib.request.urlopen(f"http://{listen}/metrics").read().decode()
    assert 'mdx_farm_refused_total{reason="token"} 2.0' in text


def test_health_is_told_without_a_token(token_worker):
    with grpc.insecure_channel(token_worker.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        reply = stub.Check(health_pb2.HealthCheckRequest(service=wire.SERVICE), timeout=5)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_tls_worker_is_used_by_those_who_know_its_authority(tls_worker, authority):
    with Farm(tls_worker.address, security=ClientSecurity(tls_ca=authority.path)) as farm:
        assert farm.run(SCRIPT).status is RunStatus.OK


def test_certificate_of_a_name_serves_all_its_addresses(serve, authority):
    cert, key = authority.sign("localhost")
    security = ClientSecurity(tls_ca=authority.path)
    with serve("--tls-cert", cert, "--tls-key", key) as served:
        with Farm(f"dns:///localhost:{served.port}", security=security) as farm:
            assert farm.run(SCRIPT).status is RunStatus.OK
        with pytest.raises(FarmError, match="for another host name"):
            Farm(served.address, security=security, connect_timeout_s=0.5)


def test_certificate_of_a_stranger_is_not_trusted(tls_worker, folder):
    stranger = make_authority(folder, "stranger")
    with pytest.raises(FarmError, match="none that --farm-tls-ca vouches for"):
        Farm(
            tls_worker.address,
            security=ClientSecurity(tls_ca=stranger.path),
            connect_timeout_s=0.5,
        )


def test_client_without_tls_is_told_about_it(tls_worker):
    with pytest.raises(FarmError, match="a worker with TLS needs --farm-tls-ca"):
        Farm(tls_worker.address, connect_timeout_s=0.5)


def test_client_with_tls_is_told_that_the_worker_has_none(token_worker, authority):
    security = ClientSecurity(tls_ca=authority.path)
    with pytest.raises(FarmError, match="does not speak TLS"):
        Farm(token_worker.address, security=security, connect_timeout_s=0.5)


def test_mutual_tls_lets_in_whom_its_authority_signed(mutual_worker, authority):
    cert, key = authority.sign("client")
    security = ClientSecurity(tls_ca=authority.path, tls_cert=cert, tls_key=key)
    with Farm(mutual_worker.address, security=security) as farm:
        assert farm.run(SCRIPT).status is RunStatus.OK


@pytest.mark.parametrize("shown", ["none", "of a stranger"])
def test_mutual_tls_keeps_others_out(mutual_worker, authority, folder, shown):
    security = ClientSecurity(tls_ca=authority.path)
    if shown != "none":
        cert, key = make_authority(folder, "outsider").sign("client")
        security = ClientSecurity(tls_ca=authority.path, tls_cert=cert, tls_key=key)
    with pytest.raises(FarmError, match="--farm-tls-cert"):
        Farm(mutual_worker.address, security=security, connect_timeout_s=0.5)


def test_embedded_worker_needs_none_of_it(folder):
    security = ClientSecurity(
        token_file=_token(folder / "right", "sesame"), tls_ca=make_authority(folder, "any").path
    )
    with Farm(num_slots=1, security=security) as farm:
        assert farm.run(SCRIPT).status is RunStatus.OK


def test_worker_open_to_others_must_know_its_clients():
    for listen in ("0.0.0.0:0", "[::]:0", "10.0.0.1:50051", "example.org:50051"):
        with pytest.raises(UsageError, match=r"--token-file.*--tls-client-ca.*127\.0\.0\.1"):
            check_exposure(WorkerConfig(listen=listen))
        with pytest.raises(UsageError, match="must know its clients"):  # TLS alone knows nobody
            check_exposure(_config(listen, tls_cert="c", tls_key="k"))
        check_exposure(_config(listen, token_file="t"))
        check_exposure(_config(listen, tls_cert="c", tls_key="k", tls_client_ca="a"))
    for listen in ("127.0.0.1:0", "127.8.0.1:0", "[::1]:0", "localhost:0", "unix:/tmp/x"):
        check_exposure(WorkerConfig(listen=listen))


def test_token_does_not_make_an_unsandboxed_worker_public():
    config = WorkerConfig(
        listen="0.0.0.0:0", allow_unsandboxed=True, security=SecurityConfig(token_file="t")
    )
    with pytest.raises(UsageError, match="--allow-unsandboxed serves loopback"):
        check_exposure(config)


@pytest.mark.parametrize("arguments", [(), ("--tls-cert", "c", "--tls-key", "k")])
def test_exposed_worker_does_not_start(arguments):
    done = CliRunner().invoke(main, ["serve", "--listen", "0.0.0.0:0", *arguments])
    assert done.exit_code == 2
    assert re.fullmatch(r"error: .*must know its clients.*\n", done.stderr)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("a b", "one word"),
        ("a\nb", "one word"),
        ("ä", "one"),
    ],
)
def test_token_file_holds_one_word(tmp_path, content, reason):
    with pytest.raises(UsageError, match=reason):
        read_token(_token(tmp_path / "token", content))


@pytest.mark.parametrize(("mode", "is_fine"), [(0o600, True), (0o440, True), (0o644, False)])
def test_token_file_is_not_for_everyone(tmp_path, mode, is_fine):
    path = _token(tmp_path / "token", "sesame\n")
    os.chmod(path, mode)
    with contextlib.nullcontext() if is_fine else pytest.raises(UsageError, match="chmod 600"):
        assert read_token(path) == "sesame"


def test_files_that_cannot_serve_are_named(tmp_path, authority):
    cert, key = authority.sign("localhost")
    _, another_key = authority.sign("example.org")
    nonsense = str(tmp_path / "nonsense")
    Path(nonsense).write_text("no PEM\n")
    for security, reason in (
        ({"tls_cert": cert}, "tls_cert needs tls_key"),
        ({"tls_key": key}, "tls_key needs tls_cert"),
        ({"tls_cert": cert, "tls_key": another_key}, "certificate and its private key"),
        ({"tls_cert": nonsense, "tls_key": key}, f"{nonsense} and"),
        ({"tls_cert": cert, "tls_key": "/nowhere"}, "/nowhere cannot be read: No such file"),
    ):
        for load in (
            lambda given: load_guard(SecurityConfig(**given), [].append),
            lambda given: load_access(ClientSecurity(**given)),
        ):
            with pytest.raises(UsageError, match=reason):
                load(security)
    with pytest.raises(UsageError, match="authority's certificates"):
        load_access(ClientSecurity(tls_ca=nonsense))
    with pytest.raises(UsageError, match="tls_client_ca needs tls_cert"):
        load_guard(SecurityConfig(tls_client_ca=authority.path), [].append)


def test_commands_take_their_token_from_options_and_environment(token_worker, folder, tmp_path):
    script = tmp_path / "in.lammps"
    script.write_text("units lj\n")
    right = _token(folder / "right", "sesame")
    wrong = _token(folder / "wrong", "wrong")
    run = ["run", str(script), "--farm", token_worker.address]
    status = ["status", token_worker.address]
    bench = ["bench", "--kind", "trivial", "--rounds", "1", "--farm", token_worker.address]
    for command in (run, status, bench):
        by_environment = CliRunner().invoke(main, command, env={"MDX_FARM_TOKEN_FILE": right})
        assert by_environment.exit_code == 0, by_environment.output
        for path, code in ((right, 0), (wrong, 1), ("/nowhere", 2)):
            done = CliRunner().invoke(main, [*command, "--farm-token-file", path])
            assert done.exit_code == code, done.output
            assert code == 0 or re.fullmatch(r"error: .*\n", done.stderr)


def test_configuration_of_training_takes_it_too(token_worker, folder):
    right = _token(folder / "right", "sesame")
    overrides = (f"addresses=[{token_worker.address}]", f"security.token_file={right}")
    with load_config(FarmConfig, overrides=overrides).connect() as farm:
        assert farm.run(SCRIPT).status is RunStatus.OK


def _token(path: Path, content: str) -> str:
    path.write_text(content)
    path.chmod(0o600)
    return str(path)


def _config(listen: str, **security: str) -> WorkerConfig:
    return WorkerConfig(listen=listen, security=SecurityConfig(**security))


def make_authority(folder: Path, name: str) -> Authority:
    """Return a new authority with its file in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = _build(name, key, subject, key, is_authority=True)
    return Authority(_write(str(folder / f"{name}.ca"), certificate), key, certificate)


def _build(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    try:
        host: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        host = x509.DNSName(name)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .sign(issuer_key, hashes.SHA256())
    )


def _write(path: str, content: x509.Certificate | ec.EllipticCurvePrivateKey) -> str:
    if isinstance(content, x509.Certificate):
        data = content.public_bytes(serialization.Encoding.PEM)
    else:
        data = content.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    Path(path).write_bytes(data)
    return path
