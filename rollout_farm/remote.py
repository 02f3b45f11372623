"""One worker as its client sees it: a channel, its size, and what it holds of ours."""

from collections.abc import Callable

import grpc

from mdx.errors import FarmError
from mdx.lammps.run import RunRequest
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
    ("grpc.keepalive_time_ms", 20_000),  # finds out that a machine is gone
    ("grpc.keepalive_timeout_ms", 10_000),
)
_EXTRA_CREDITS = 2  # requests that wait at the worker, so that a slot never idles
_QUEUE_ALLOWANCE_S = 300.0  # other clients' requests may be before ours


class RemoteWorker:
    """A channel to one worker. `num_outstanding` is kept by the dispatcher, under its lock."""

    def __init__(self, where: Address, access: Access | None = None):
        self.where = where
        self.address = where.target
        self.num_outstanding = 0
        self.num_slots = 0
        self.is_up = False
        access = access or Access()
        self._metadata = access.metadata
        self._channel = access.open_channel(where.target, _OPTIONS, where.server_name)
        self._run = self._channel.unary_unary(
            wire.RUN_METHOD,
            request_serializer=farm_pb2.RunScriptRequest.SerializeToString,
            response_deserializer=farm_pb2.RunScriptReply.FromString,
        )
        self._status = self._channel.unary_unary(
            wire.STATUS_METHOD,
            request_serializer=farm_pb2.StatusRequest.SerializeToString,
            response_deserializer=farm_pb2.StatusReply.FromString,
        )

    @property
    def room(self) -> int:
        """How many more requests this worker may hold now."""
        return self.num_slots + _EXTRA_CREDITS - self.num_outstanding if self.is_up else 0

    def status(self, timeout_s: float, *, wait: bool = False) -> farm_pb2.StatusReply:
        """Ask the worker how it is. Raises FarmError where it does not answer."""
        try:
            return self._status(
                farm_pb2.StatusRequest(),
                timeout=timeout_s,
                metadata=self._metadata,
                wait_for_ready=wait,
            )
        except grpc.RpcError as error:
            raise FarmError(f"{self.address}: {explain(error)}") from error

    def start(self, request: RunRequest, on_end: Callable[[grpc.Future], None]) -> grpc.Future:
        """Send a request; `on_end` is called with the ended call, in a thread of gRPC's."""
        # generous: it ends calls to a worker that hangs, never a script within its limits
        waiting_s = (1 + _EXTRA_CREDITS) * request.limits.wall_time_s
        timeout_s = waiting_s + _QUEUE_ALLOWANCE_S
        call = self._run.future(
            wire.pack_request(request), timeout=timeout_s, metadata=self._metadata
        )
        call.add_done_callback(on_end)
        return call

    def close(self) -> None:
        """Close the channel; calls in flight end as cancelled."""
        self._channel.close()


def explain(error: grpc.RpcError) -> str:
    """Return what went wrong with a call, in one line."""
    code = error.code().name.lower().replace("_", " ")
    details = " ".join((error.details() or "").split())
    if "onnect" in details:  # gRPC repeats itself; the last part is the kernel's reason
        details = details.rpartition(": ")[2]
    return f"{details} ({code})" if details else code
