"""One worker as its client sees it: a channel, its size, and what it holds of ours."""

import time
from collections.abc import Callable

import grpc

from mdx.errors import FarmError
from mdx.lammps.run import RunRequest, RunResult
from rollout_farm import wire
from rollout_farm.addresses import Address
from rollout_farm.proto import farm_pb2
from rollout_farm.security import Access

_OPTIONS = (
    *wire.CHANNEL_OPTIONS,
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # a closed client leaves no connection behind
    ("grpc.enable_retries", 0),  # retries go to another worker
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.initial_reconnect_backoff_ms", 100),
)
_TLS_TROUBLE = (  # what gRPC says when it cannot connect, and what that means
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is none that --farm-tls-ca vouches for"),
    ("Hostname Verification", "its certificate is for another host name than this"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS: leave --farm-tls-ca and --farm-tls-cert out"),
    (
        "Socket closed",
        "it closes the connection: a worker with TLS needs --farm-tls-ca FILE, one that wants to "
        "see a certificate also --farm-tls-cert and --farm-tls-key",
    ),
)
SILENCE_S = 30.0
_EXTRA_CREDITS = 2  # requests that wait at the worker, so that a slot never idles
_FIRST_PROBE_PAUSE_S = 0.25
_MAX_PROBE_PAUSE_S = 4.0
_REFUSED_PAUSE_S = 30.0  # a token that was wrong will hardly be right soon
_QUEUE_ALLOWANCE_S = 300.0  # other clients' requests may be before ours


class RemoteWorker:
    """A channel to one worker. The client keeps the public variables, under its lock.

    A worker that gives no sign of life for `silence_s` is gone.
    """

    def __init__(self, where: Address, access: Access | None = None, silence_s: float = SILENCE_S):
        self.where = where
        self.address = where.target
        self.identity = where.target  # until it says which of all workers it is
        self.num_outstanding = 0
        self.num_slots = 0
        self.is_up = False
        self.is_asked = False  # a question how it is has not ended yet
        self.is_refused = False  # it wants another token
        self.resting_until = 0.0  # it wants to be left alone until then (monotonic clock)
        self.probe_at = 0.0  # when to ask next how it is
        self._probe_pause_s = _FIRST_PROBE_PAUSE_S
        access = access or Access()
        self._metadata = access.metadata
        options = (*_OPTIONS, *_pings(silence_s))
        self._channel = access.open_channel(where.target, options, where.server_name)
        self._run = self._channel.unary_unary(
            wire.RUN_METHOD,
            request_serializer=farm_pb2.RunScriptRequest.SerializeToString,
            response_deserializer=farm_pb2.RunScriptReply.FromString,
        )
        self._watch = self._channel.unary_stream(
            wire.WATCH_METHOD,
            request_serializer=farm_pb2.RunScriptRequest.SerializeToString,
            response_deserializer=farm_pb2.Progress.FromString,
        )
        self._status = self._channel.unary_unary(
            wire.STATUS_METHOD,
            request_serializer=farm_pb2.StatusRequest.SerializeToString,
            response_deserializer=farm_pb2.StatusReply.FromString,
        )

    @property
    def room(self) -> int:
        """How many more requests this worker may hold now."""
        if not self.is_up or time.monotonic() < self.resting_until:
            return 0
        return self.num_slots + _EXTRA_CREDITS - self.num_outstanding

    @property
    def is_busy(self) -> bool:
        """Whether a call of ours has not ended."""
        return self.is_asked or self.num_outstanding > 0

    def probe_later(self, *, hurry: bool) -> None:
        """Plan when to ask how it is: soon, or after a pause that doubles each time."""
        self._probe_pause_s = min(_MAX_PROBE_PAUSE_S, 2 * self._probe_pause_s)
        if hurry:
            self._probe_pause_s = _FIRST_PROBE_PAUSE_S
        pause_s = _REFUSED_PAUSE_S if self.is_refused else self._probe_pause_s
        self.probe_at = time.monotonic() + pause_s

    def ask(self, timeout_s: float, on_end: Callable[[grpc.Future], None]) -> None:
        """Ask the worker how it is; `on_end` is called with the ended call."""
        call = self._status.future(
            farm_pb2.StatusRequest(), timeout=timeout_s, metadata=self._metadata
        )
        call.add_done_callback(on_end)

    def status(self, timeout_s: float) -> farm_pb2.StatusReply:
        """Ask the worker how it is. Raises FarmError where it does not answer."""
        try:
            return self._status(
                farm_pb2.StatusRequest(), timeout=timeout_s, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise FarmError(f"{self.address}: {explain(error)}") from error

    def start(
        self,
        request: RunRequest,
        message: farm_pb2.RunScriptRequest,
        on_end: Callable[[grpc.Future], None],
    ) -> grpc.Future:
        """Send a request, packed as `message`; a thread of gRPC's calls `on_end` with the call."""
        call = self._run.future(message, timeout=_timeout_s(request), metadata=self._metadata)
        call.add_done_callback(on_end)
        return call

    def watch(self, request: RunRequest, show: Callable[[str], None]) -> RunResult:
        """Run a script and `show` its log while it grows, whole lines at a time.

        Raises grpc.RpcError; no other worker is tried.
        """
        call = self._watch(
            wire.pack_request(request), timeout=_timeout_s(request), metadata=self._metadata
        )
        shown = False
        try:
            for progress in call:
                if progress.WhichOneof("what") == "log":
                    shown = True
                    show(progress.log)
        finally:
            call.cancel()
        result = wire.unpack_result(progress.reply)
        if not shown:  # another request had it run
            show(result.log)
        return result

    def close(self) -> None:
        """Close the channel; calls in flight end as cancelled."""
        self._channel.close()


def _pings(silence_s: float) -> tuple[tuple[str, int], ...]:
    """Return how often to ping, and how long to wait for the answer: together `silence_s`."""
    third_ms = max(1, round(1000 * silence_s / 3))
    return (
        ("grpc.keepalive_time_ms", 2 * third_ms),
        ("grpc.http2.ping_timeout_ms", third_ms),  # what gRPC heeds, not keepalive_timeout_ms
    )


def _timeout_s(request: RunRequest) -> float:
    """Return a generous limit: it ends calls to a worker that hangs, never a script within its."""
    return (1 + _EXTRA_CREDITS) * request.limits.wall_time_s + _QUEUE_ALLOWANCE_S


def explain(error: grpc.RpcError) -> str:
    """Return what went wrong with a call, in one line."""
    code = error.code().name.lower().replace("_", " ")
    details = " ".join((error.details() or "").split())
    if details.startswith("failed to connect"):
        for sign, meaning in _TLS_TROUBLE:
            if sign in details:
                reason = details.partition("VERIFY_FAILED: ")[2].removesuffix(": OK")
                return f"{meaning} ({reason})" if reason else meaning
    if "onnect" in details:  # gRPC repeats itself; the last part is the kernel's reason
        details = details.rpartition(": ")[2]
    return f"{details} ({code})" if details else code
