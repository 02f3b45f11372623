"""Between the wire's messages and MDX's dataclasses, and the names of the gRPC methods."""

from pathlib import PurePosixPath

import grpc
import msgspec
from google.protobuf.message import DecodeError

from mdx.errors import UsageError
from mdx.lammps.run import RunLimits, RunRequest, RunResult, from_json, to_json
from mdx.tasks.task import Task
from rollout_farm.messages import SCRIPT_NAME
from rollout_farm.proto import farm_pb2

SERVICE = "mdx.farm.v1.Farm"
RUN_METHOD = f"/{SERVICE}/Run"
WATCH_METHOD = f"/{SERVICE}/Watch"
STATUS_METHOD = f"/{SERVICE}/Status"
PUSHBACK = "grpc-retry-pushback-ms"  # trailer: the script was not started, come again then
MAX_MESSAGE_BYTES = 64 << 20
_MAX_PRIORITY = 1000
_MAX_PIXELS = 4096
_MAX_LIMIT = 2**53  # as many bytes as a double holds, more than any machine has
_MAX_LIMIT_S = 10**6  # poll takes no more than 2**31 ms
_MAX_NAME_BYTES = 255  # of a file, to the kernel
_MAX_FILES = 1000  # half of what a job folder holds
_MAX_POTENTIAL_CHARS = 1 << 13  # it travels to the zygote in one packet
_MAX_SCRIPT_CHARS = 1 << 20  # reading one takes seconds a megabyte
_MAX_REQUEST_BYTES = MAX_MESSAGE_BYTES // 4  # leaves room for the encoding of a task's files
CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
)


def pack_request(request: RunRequest) -> farm_pb2.RunScriptRequest:
    """Return the wire's form of a request."""
    return farm_pb2.RunScriptRequest(
        script=request.script,
        files=dict(request.files),
        limits_json=to_json(request.limits),
        task_json=to_json(request.task) if request.task else b"",
        want_outputs=request.want_outputs,
        priority=request.priority,
        image_pixels=request.image_pixels,
        without_evidence=not request.want_evidence,
    )


def unpack_request(data: bytes) -> RunRequest:
    """Return the request in a message's bytes. Raises UsageError for what no worker could run."""
    try:
        message = farm_pb2.RunScriptRequest.FromString(data)
        request = RunRequest(
            script=message.script,
            files=dict(message.files),
            limits=from_json(message.limits_json, RunLimits),
            task=from_json(message.task_json, Task) if message.task_json else None,
            want_outputs=tuple(message.want_outputs),
            priority=message.priority,
            image_pixels=message.image_pixels,
            want_evidence=not message.without_evidence,
        )
    except (DecodeError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the request cannot be read (versions differ?): {error}") from error
    check_request(request)
    return request


def check_request(request: RunRequest) -> None:
    """Raise UsageError for what no worker could run: names with folders, too much data, limits."""
    _check_files(request)
    _check_limits(request.limits)
    if abs(request.priority) > _MAX_PRIORITY:
        raise UsageError(f"a priority lies within {_MAX_PRIORITY} of 0, not {request.priority}")
    if not 0 <= request.image_pixels <= _MAX_PIXELS:
        raise UsageError(
            f"a picture may be up to {_MAX_PIXELS} pixels wide, not {request.image_pixels}"
        )
    potential = request.potential
    if potential and len(potential.style) + sum(map(len, potential.coeffs)) > _MAX_POTENTIAL_CHARS:
        raise UsageError(
            f"a task's potential may have {_MAX_POTENTIAL_CHARS} characters: name a file instead"
        )


def _check_files(request: RunRequest) -> None:
    try:
        "".join((request.script, *request.files, *request.want_outputs)).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"a script and names of files must be Unicode text: {error}") from error
    for name in request.files:
        if name != PurePosixPath(name).name or name in ("", ".", "..", SCRIPT_NAME):
            raise UsageError(
                f"a file given to a script needs a plain name other than {SCRIPT_NAME}, "
                f"not {name[:50]!r}"
            )
        if "\0" in name or len(name.encode(errors="replace")) > _MAX_NAME_BYTES:
            raise UsageError(
                f"the name of a file may have {_MAX_NAME_BYTES} bytes, none of them zero, "
                f"not {name[:50]!r} and so on"
            )
    if len(request.files) > _MAX_FILES:
        raise UsageError(f"a script may be given {_MAX_FILES} files, not {len(request.files)}")
    if len(request.script) > _MAX_SCRIPT_CHARS:
        raise UsageError(
            f"a script may have {_MAX_SCRIPT_CHARS >> 20} MiB, not "
            f"{len(request.script) / 2**20:.1f}: put data into files"
        )
    num_bytes = len(request.script) + sum(map(len, request.files.values()))
    if num_bytes > _MAX_REQUEST_BYTES:
        raise UsageError(
            f"a script and its files may have {_MAX_REQUEST_BYTES >> 20} MiB, "
            f"not {num_bytes / 2**20:.1f}"
        )


def _check_limits(limits: RunLimits) -> None:
    for name, value in vars(limits).items():
        largest = _MAX_LIMIT_S if name.endswith("_s") else _MAX_LIMIT
        if not 0 < value <= largest:
            raise UsageError(
                f"the limit {name} must be a positive number up to {largest}, not {value}"
            )


def unpack_result(message: farm_pb2.RunScriptReply) -> RunResult:
    """Return the result in a reply. Raises msgspec.DecodeError."""
    return from_json(message.result_json, RunResult)


def handlers(run: object, watch: object, status: object) -> grpc.GenericRpcHandler:
    """Return the service's methods, for `server.add_generic_rpc_handlers`.

    They get bytes: what cannot be decoded is for them to refuse (gRPC would answer UNKNOWN).
    """
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Run": grpc.unary_unary_rpc_method_handler(
                run,
                response_serializer=farm_pb2.RunScriptReply.SerializeToString,
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                watch,
                response_serializer=farm_pb2.Progress.SerializeToString,
            ),
            "Status": grpc.unary_unary_rpc_method_handler(
                status,
                response_serializer=farm_pb2.StatusReply.SerializeToString,
            ),
        },
    )
