"""A farm worker: an asyncio gRPC server in front of a pool of slots. It never forks itself.

    mdx-farm serve                          a worker for others (rollout_farm.cli)
    python -m rollout_farm.worker CONFIG    one that ends when its standard input does
                                            (rollout_farm.embedded starts it)

Results travel as replies, infrastructure trouble as gRPC status codes: RESOURCE_EXHAUSTED (queue
full), UNAVAILABLE (draining), ABORTED (slots lost) are worth a try elsewhere; INVALID_ARGUMENT is
not. On SIGTERM the worker reports NOT_SERVING, finishes what runs and exits 0. Who may call is
decided in rollout_farm.security, before any method here.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable

import grpc
import grpc.aio
import msgspec
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from mdx.errors import FarmError, MdxError, UsageError
from rollout_farm import wire
from rollout_farm.addresses import reachable_address, registered
from rollout_farm.cache import ResultCache
from rollout_farm.config import WorkerConfig
from rollout_farm.embedded import Ready
from rollout_farm.pool import Pool
from rollout_farm.proto import farm_pb2
from rollout_farm.security import check_exposure, load_guard

_SERVER_OPTIONS = (
    *wire.CHANNEL_OPTIONS,
    ("grpc.so_reuseport", 0),  # two workers on one port would share its calls by chance
    ("grpc.http2.max_ping_strikes", 0),  # clients find out by pings that a machine is gone
    # without these two a burst of 2,000 calls loses some to CANCELLED
    ("grpc.server.max_pending_requests", 1 << 16),
    ("grpc.server.max_pending_requests_hard_limit", 1 << 16),
)
# says that the script was not started; clients go elsewhere at once and count no failure
_NOT_STARTED = (("grpc-retry-pushback-ms", "0"),)


class Service:
    """The two methods of the farm's gRPC service."""

    def __init__(self, config: WorkerConfig, pool: Pool):
        self.draining = False
        self._config = config
        self._pool = pool
        self._results = ResultCache(pool.run, config.cache.memory_bytes)

    async def run(
        self, message: farm_pb2.RunScriptRequest, context: grpc.aio.ServicerContext
    ) -> farm_pb2.RunScriptReply:
        """Run one script (or find its result) and reply with it."""
        if self.draining:
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "this worker is stopping", _NOT_STARTED
            )
        if self._pool.num_waiting >= self._config.max_waiting:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")
        try:
            request = wire.unpack_request(message)
            encoded, from_cache = await self._results.get(request)
        except UsageError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except FarmError as error:
            await context.abort(grpc.StatusCode.ABORTED, str(error))
        return farm_pb2.RunScriptReply(result_json=encoded, from_cache=from_cache)

    async def status(
        self, message: farm_pb2.StatusRequest, context: grpc.aio.ServicerContext
    ) -> farm_pb2.StatusReply:
        """Reply with what this worker is and how busy it is."""
        pool = self._pool
        return farm_pb2.StatusReply(
            num_slots=self._config.slots,
            num_busy=pool.num_busy,
            num_waiting=pool.num_waiting,
            num_runs=pool.num_runs,
            num_cache_hits=self._results.num_hits,
            num_slots_lost=pool.num_lost,
            sandbox=pool.hello.layers,
            not_held=dict(pool.hello.missing),
            lammps_version=pool.hello.lammps_version,
            draining=self.draining,
        )


async def serve(
    config: WorkerConfig, *, on_ready: Callable[[Ready], None], until_eof_of: int | None = None
) -> None:
    """Serve until SIGTERM or SIGINT (or the end of the file `until_eof_of`), then drain.

    Raises FarmError where the port is taken or the host cannot sandbox scripts, and UsageError
    where the worker would be open to strangers.
    """
    check_exposure(config)
    guard = load_guard(config.security)
    stopping = _stop_event(until_eof_of)
    pool = Pool(config)
    await pool.start()
    service = Service(config, pool)
    server = grpc.aio.server(interceptors=guard.interceptors, options=_SERVER_OPTIONS)
    server.add_generic_rpc_handlers((wire.handlers(service.run, service.status),))
    condition = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(condition, server)
    try:
        address = _bind(server, config.listen, guard.credentials)
        await server.start()
        for name in ("", wire.SERVICE):
            await condition.set(name, health_pb2.HealthCheckResponse.SERVING)
        with registered(config.register_dir, reachable_address(address)):
            on_ready(Ready(address=address, num_slots=config.slots, layers=pool.hello.layers))
            await stopping.wait()
        service.draining = True
        await condition.enter_graceful_shutdown()
        await server.stop(config.drain_s if until_eof_of is None else 0)
    finally:
        await pool.close()


def _bind(server: grpc.aio.Server, listen: str, credentials: grpc.ServerCredentials | None) -> str:
    """Bind the server and return the address that clients use."""
    _refuse_used_socket(listen)
    try:
        if credentials is None:
            port = server.add_insecure_port(listen)
        else:
            port = server.add_secure_port(listen, credentials)
    except RuntimeError as error:
        raise FarmError(
            f"cannot listen on {listen}: the address is in use or none of this machine's"
        ) from error
    return listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"


def _refuse_used_socket(listen: str) -> None:
    """Raise FarmError if someone serves on that unix socket; gRPC would take it from them."""
    if listen.startswith("unix:"):
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(listen.removeprefix("unix:"))
            raise FarmError(f"cannot listen on {listen}: another worker serves there")


def _stop_event(until_eof_of: int | None) -> asyncio.Event:
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if until_eof_of is not None:
        loop.add_reader(until_eof_of, stopping.set)
    return stopping


def main() -> None:
    """Serve one client until standard input ends; the first line of output says where."""

    def say(ready: Ready) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(ready) + b"\n")
        sys.stdout.buffer.flush()

    config = msgspec.json.decode(sys.argv[1], type=WorkerConfig)
    try:
        asyncio.run(serve(config, on_ready=say, until_eof_of=sys.stdin.fileno()))
    except MdxError as error:
        say(Ready(error=str(error)))
        sys.exit(1)
    finally:
        shutil.rmtree(os.path.dirname(config.listen.removeprefix("unix:")), ignore_errors=True)


if __name__ == "__main__":
    main()
