"""Who may use a worker and how a client shows that it may: bearer tokens and (mutual) TLS.

A worker refuses every call without its token but health checks, so that an orchestrator's probes
work. Files are read once, at the start; a new token or certificate needs a new worker. What is
wrong with a file is a `UsageError` that names it. There are no users or roles: who holds the token,
or a certificate of the right authority, may run scripts.
"""

import hmac
import os
import re
import ssl
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from mdx.errors import UsageError
from rollout_farm.addresses import is_loopback
from rollout_farm.config import ClientSecurity, SecurityConfig, WorkerConfig

Metadata = tuple[tuple[str, str], ...]
_HEADER = "authorization"
_OPEN_TO_ALL = "/grpc.health.v1.Health/"
_TOKEN = re.compile(r"[\x21-\x7e]+")
_MAX_FILE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A worker's `SecurityConfig` with its files read."""

    interceptors: tuple[grpc.aio.ServerInterceptor, ...] = ()
    credentials: grpc.ServerCredentials | None = None  # None: no TLS


@dataclass(frozen=True, kw_only=True)
class Access:
    """A client's `ClientSecurity` with its files read."""

    metadata: Metadata = ()  # of every call
    credentials: grpc.ChannelCredentials | None = None  # None: no TLS

    def open_channel(
        self, target: str, options: tuple[tuple[str, Any], ...], server_name: str | None = None
    ) -> grpc.Channel:
        """Return a channel to `target`, whose certificate must hold its host or `server_name`."""
        if self.credentials is None:
            return grpc.insecure_channel(target, options)
        if server_name is not None:
            options = (*options, ("grpc.ssl_target_name_override", server_name))
        return grpc.secure_channel(target, self.credentials, options)


def check_exposure(config: WorkerConfig) -> None:
    """Raise UsageError where others reach a worker that has no sandbox or does not know them."""
    if is_loopback(config.listen):
        return
    if config.allow_unsandboxed:
        raise UsageError(
            "--allow-unsandboxed serves loopback addresses and unix sockets only, not "
            f"{config.listen!r}"
        )
    if not (config.security.token_file or config.security.tls_client_ca):
        raise UsageError(
            f"a worker that listens on {config.listen} can be reached by others and must know its "
            "clients: give it --token-file FILE (made by `umask 077; openssl rand -hex 32 > FILE`) "
            "or --tls-client-ca FILE, or let it --listen on 127.0.0.1"
        )


def load_guard(config: SecurityConfig, count_refusal: Callable[[str], None]) -> Guard:
    """Read a worker's token and certificates. Raises UsageError for what cannot serve.

    `count_refusal` is called with `token` for each call that does not show the token.
    """
    interceptors: tuple[grpc.aio.ServerInterceptor, ...] = ()
    if config.token_file:
        interceptors = (_TokenInterceptor(read_token(config.token_file), count_refusal),)
    _check_pair("tls_cert", config.tls_cert, "tls_key", config.tls_key)
    if not config.tls_cert:
        if config.tls_client_ca:
            raise UsageError("tls_client_ca needs tls_cert and tls_key beside it")
        return Guard(interceptors=interceptors)
    _check_tls(config.tls_cert, config.tls_key, config.tls_client_ca)
    credentials = grpc.ssl_server_credentials(
        [(_read(config.tls_key), _read(config.tls_cert))],
        root_certificates=_read(config.tls_client_ca) if config.tls_client_ca else None,
        require_client_auth=bool(config.tls_client_ca),
    )
    return Guard(interceptors=interceptors, credentials=credentials)


def load_access(security: ClientSecurity) -> Access:
    """Read a client's token and certificates. Raises UsageError for what cannot serve."""
    metadata = (
        ((_HEADER, f"Bearer {read_token(security.token_file)}"),) if security.token_file else ()
    )
    _check_pair("tls_cert", security.tls_cert, "tls_key", security.tls_key)
    if not (security.tls_ca or security.tls_cert):
        return Access(metadata=metadata)
    _check_tls(security.tls_cert, security.tls_key, security.tls_ca)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_read(security.tls_ca) if security.tls_ca else None,
        private_key=_read(security.tls_key) if security.tls_key else None,
        certificate_chain=_read(security.tls_cert) if security.tls_cert else None,
    )
    return Access(metadata=metadata, credentials=credentials)


def read_token(path: str) -> str:
    """Return the token in a file. Raises UsageError unless it holds one and not all may read it.

    Members of the file's group may: Kubernetes mounts a Secret as root's for the pod's group.
    """
    token = _read(path).decode("latin-1").strip()
    if not token:
        raise UsageError(f"the token file {path} is empty: it must hold one line, the token")
    if not _TOKEN.fullmatch(token):
        raise UsageError(
            f"the token file {path} must hold one word of printable ASCII, the token, and no more"
        )
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if mode & stat.S_IROTH:
        raise UsageError(
            f"everyone here may read the token file {path} (mode {mode:04o}): chmod 600 {path}"
        )
    return token


class _TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls that do not show the token."""

    def __init__(self, token: str, count_refusal: Callable[[str], None]):
        self._wanted = f"Bearer {token}".encode()
        self._count_refusal = count_refusal

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Return the method that was asked for, or the refusal in its place."""
        if str(handler_call_details.method).startswith(_OPEN_TO_ALL):
            return await continuation(handler_call_details)
        shown = [
            value if isinstance(value, bytes) else value.encode()
            for key, value in handler_call_details.invocation_metadata
            if key == _HEADER
        ]
        if any(hmac.compare_digest(value, self._wanted) for value in shown):
            return await continuation(handler_call_details)
        self._count_refusal("token")
        # of streams, since that refuses before it reads what the client sends
        return grpc.stream_stream_rpc_method_handler(_refuse_another if shown else _refuse_none)


async def _refuse_none(_: object, context: grpc.aio.ServicerContext) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "it wants a token and none was given")


async def _refuse_another(_: object, context: grpc.aio.ServicerContext) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "it wants another token than was given")


def _check_pair(first: str, first_path: str, second: str, second_path: str) -> None:
    if bool(first_path) != bool(second_path):
        given, missing = (first, second) if first_path else (second, first)
        raise UsageError(f"{given} needs {missing} beside it")


def _check_tls(cert: str, key: str, authority: str) -> None:
    """Raise UsageError for what is no certificate or key; gRPC would only say that TLS failed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for path in filter(None, (cert, key, authority)):
        _read(path)
    try:
        if cert:
            context.load_cert_chain(cert, key, password=lambda: "")
    except ssl.SSLError as error:
        raise UsageError(
            f"{cert} and {key} must be a certificate and its private key, in PEM and without a "
            f"passphrase ({error.reason or 'no PEM'})"
        ) from error
    try:
        if authority:
            context.load_verify_locations(cafile=authority)
    except ssl.SSLError as error:
        raise UsageError(
            f"{authority} must hold an authority's certificates in PEM ({error.reason or 'none'})"
        ) from error


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
