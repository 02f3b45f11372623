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
import gc
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine

import grpc
import grpc.aio
import msgspec
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from mdx.errors import FarmError, MdxError, UsageError
from mdx.lammps.run import RunRequest, RunResult
from rollout_farm import wire
from rollout_farm.addresses import reachable_address, registered
from rollout_farm.cache import ResultCache, machine_digest
from rollout_farm.config import WorkerConfig
from rollout_farm.embedded import Ready
from rollout_farm.metrics import Metrics
from rollout_farm.pool import Pool, Watcher
from rollout_farm.proto import farm_pb2
from rollout_farm.security import check_exposure, load_guard
from rollout_farm.slot import Run

_SERVER_OPTIONS = (
    *wire.CHANNEL_OPTIONS,
    ("grpc.so_reuseport", 0),  # two workers on one port would share its calls by chance
    ("grpc.http2.max_ping_strikes", 0),  # clients find out by pings that a machine is gone
    # without these two a burst of 2,000 calls loses some to CANCELLED
    ("grpc.server.max_pending_requests", 1 << 16),
    ("grpc.server.max_pending_requests_hard_limit", 1 << 16),
)
# says that the script was not started; clients go elsewhere at once and count no failure
_NOT_STARTED = ((wire.PUSHBACK, "0"),)
_MIN_PUSHBACK_MS, _MAX_PUSHBACK_MS = 100, 10_000
_MAX_REASON_CHARS = 1000  # gRPC takes 8 KB of trailers, and it may quote what it refuses
_GARBAGE_THRESHOLDS = (700, 2, 2)  # everything after about 1,000 calls, by default 15,000
_LOOK_EVERY_S = 0.2  # into the logs that people watch


class Service:
    """The methods of the farm's gRPC service."""

    def __init__(self, config: WorkerConfig, pool: Pool, metrics: Metrics):
        self.draining = False
        self._identity = secrets.token_hex(16)
        self._config = config
        self._pool = pool
        self._metrics = metrics
        # only what outlives this process can meet another machine
        machine = machine_digest(pool.hello.lammps_version) if config.cache.dir else ""
        self.results = ResultCache(self._run_and_count, config.cache, machine)

    async def run(
        self, message: bytes, context: grpc.aio.ServicerContext
    ) -> farm_pb2.RunScriptReply:
        """Run one script (or find its result) and reply with it."""
        return await self._reply(await self._accept(message, context), context)

    async def watch(
        self, message: bytes, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[farm_pb2.Progress]:
        """Do as `run`, and send the log's lines while the script runs."""
        request = await self._accept(message, context)
        runs: list[Run] = []

        def follow(run: Run) -> None:
            run.follow()
            runs.append(run)

        reply = asyncio.create_task(self._reply(request, context, follow))
        try:
            while not reply.done():
                await asyncio.wait({reply}, timeout=_LOOK_EVERY_S)
                lines = "" if not runs or runs[-1].is_closed else runs[-1].read_lines()
                if lines:
                    yield farm_pb2.Progress(log=lines)
            if runs and runs[-1].rest:
                yield farm_pb2.Progress(log=runs[-1].rest)
            yield farm_pb2.Progress(reply=reply.result())
        finally:
            reply.cancel()

    async def _accept(self, message: bytes, context: grpc.aio.ServicerContext) -> RunRequest:
        """Return the request in a message, or end the call where it cannot be taken now."""
        if self.draining:
            self._metrics.count_refusal("draining")
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "this worker is stopping", _NOT_STARTED
            )
        if self._pool.num_waiting >= self._config.max_waiting:
            self._metrics.count_refusal("queue_full")
            wait_ms = round(1000 * self._pool.expected_wait_s)
            pause_ms = min(_MAX_PUSHBACK_MS, max(_MIN_PUSHBACK_MS, wait_ms))
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "the queue is full",
                ((wire.PUSHBACK, str(pause_ms)),),
            )
        try:
            return wire.unpack_request(message)
        except UsageError as error:
            self._metrics.count_refusal("invalid")
            reason = str(error)[:_MAX_REASON_CHARS]
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)
        raise AssertionError("unreachable: abort raises")

    async def _reply(
        self,
        request: RunRequest,
        context: grpc.aio.ServicerContext,
        watcher: Watcher | None = None,
    ) -> farm_pb2.RunScriptReply:
        try:
            encoded, from_cache = await self.results.get(request, watcher)
        except FarmError as error:
            await context.abort(grpc.StatusCode.ABORTED, str(error))
        return farm_pb2.RunScriptReply(result_json=encoded, from_cache=from_cache)

    async def _run_and_count(self, request: RunRequest, watcher: Watcher | None) -> RunResult:
        result = await self._pool.run(request, watcher)
        self._metrics.count_run(result)
        return result

    async def status(
        self, message: bytes, context: grpc.aio.ServicerContext
    ) -> farm_pb2.StatusReply:
        """Reply with what this worker is and how busy it is."""
        pool = self._pool
        return farm_pb2.StatusReply(
            num_slots=self._config.slots,
            num_busy=pool.num_busy,
            num_waiting=pool.num_waiting,
            num_runs=pool.num_runs,
            num_cache_hits=self.results.num_hits,
            num_slots_lost=pool.num_lost,
            sandbox=pool.hello.layers,
            not_held=dict(pool.hello.missing),
            lammps_version=pool.hello.lammps_version,
            draining=self.draining,
            identity=self._identity,
        )


async def serve(
    config: WorkerConfig, *, on_ready: Callable[[Ready], None], until_eof_of: int | None = None
) -> None:
    """Serve until SIGTERM or SIGINT (or the end of the file `until_eof_of`), then drain.

    Raises FarmError where the port is taken or the host cannot sandbox scripts, and UsageError
    where the worker would be open to strangers.
    """
    check_exposure(config)
    metrics = Metrics()
    guard = load_guard(config.security, metrics.count_refusal)
    stopping = _stop_event(until_eof_of)
    pool = Pool(config)
    await pool.start()
    try:
        service = Service(config, pool, metrics)
        if config.metrics_listen:
            metrics.serve(config.metrics_listen, pool, service.results)
        server = grpc.aio.server(interceptors=guard.interceptors, options=_SERVER_OPTIONS)
        condition = _add_services(server, service)
        address = _bind(server, config.listen, guard.credentials)
        await server.start()
        for name in ("", wire.SERVICE):
            await condition.set(name, health_pb2.HealthCheckResponse.SERVING)
        with registered(config.register_dir, reachable_address(address)):
            _collect_often()
            on_ready(Ready(address=address, num_slots=config.slots, layers=pool.hello.layers))
            await stopping.wait()
        service.draining = True
        await condition.enter_graceful_shutdown()
        await server.stop(config.drain_s if until_eof_of is None else 0)
    finally:
        await pool.close()


def _collect_often() -> None:
    """Keep the memory flat: gRPC leaves a cycle of five objects with every call.

    What lives by now stays, and is not looked through any more, so that a collection is cheap.
    """
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)


def _add_services(server: grpc.aio.Server, service: Service) -> health.aio.HealthServicer:
    """Add the farm's methods, health and reflection; return the health to be set."""
    methods = wire.handlers(service.run, service.watch, service.status)
    server.add_generic_rpc_handlers((methods,))
    condition = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(condition, server)
    names = (wire.SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    return condition


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


def run(served: Coroutine[object, object, None]) -> None:
    """Run `serve` in an event loop of its own: uvloop's where there is one, a tenth less CPU."""
    loops = importlib.import_module("uvloop") if importlib.util.find_spec("uvloop") else asyncio
    loops.run(served)


def main() -> None:
    """Serve one client until standard input ends; the first line of output says where."""

    def say(ready: Ready) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(ready) + b"\n")
        sys.stdout.buffer.flush()

    config = msgspec.json.decode(sys.argv[1], type=WorkerConfig)
    try:
        run(serve(config, on_ready=say, until_eof_of=sys.stdin.fileno()))
    except MdxError as error:
        say(Ready(error=str(error)))
        sys.exit(1)
    finally:
        shutil.rmtree(os.path.dirname(config.listen.removeprefix("unix:")), ignore_errors=True)


if __name__ == "__main__":
    main()
