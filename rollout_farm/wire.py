"""Between the wire's messages and MDX's dataclasses, and the names of the gRPC methods."""

from pathlib import PurePosixPath

import grpc
import msgspec

from mdx.errors import UsageError
from mdx.lammps.run import RunLimits, RunRequest, RunResult, from_json, to_json
from mdx.tasks.task import Task
from rollout_farm.messages import SCRIPT_NAME
from rollout_farm.proto import farm_pb2

SERVICE = "mdx.farm.v1.Farm"
RUN_METHOD = f"/{SERVICE}/Run"
WATCH_METHOD = f"/{SERVICE}/Watch"
STATUS_METHOD = f"/{SERVICE}/Status"
MAX_MESSAGE_BYTES = 64 << 20
_MAX_PIXELS = 4096
_MAX_LIMIT = 2**53  # as many seconds or bytes as a double holds, more than any machine has
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


def unpack_request(message: farm_pb2.RunScriptRequest) -> RunRequest:
    """Return the request in a message. Raises UsageError for what no worker could run."""
    try:
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
    except msgspec.DecodeError as error:
        raise UsageError(f"the request cannot be read (versions differ?): {error}") from error
    check_request(request)
    return request


def check_request(request: RunRequest) -> None:
    """Raise UsageError for names with folders, too much data, wrong limits, too large a picture."""
    for name in request.files:
        if name != PurePosixPath(name).name or name in ("", ".", "..", SCRIPT_NAME):
            raise UsageError(
                f"a file given to a script needs a plain name other than {SCRIPT_NAME}, "
                f"not {name!r}"
            )
    num_bytes = len(request.script) + sum(map(len, request.files.values()))
    if num_bytes > _MAX_REQUEST_BYTES:
        raise UsageError(
            f"a script and its files may have {_MAX_REQUEST_BYTES >> 20} MiB, "
            f"not {num_bytes / 2**20:.1f}"
        )
    for name, value in vars(request.limits).items():
        if not 0 < value < _MAX_LIMIT:
            raise UsageError(f"the limit {name} must be a positive number, not {value}")
    if not 0 <= request.image_pixels <= _MAX_PIXELS:
        raise UsageError(
            f"a picture may be up to {_MAX_PIXELS} pixels wide, not {request.image_pixels}"
        )


def unpack_result(message: farm_pb2.RunScriptReply) -> RunResult:
    """Return the result in a reply. Raises msgspec.DecodeError."""
    return from_json(message.result_json, RunResult)


def handlers(run: object, watch: object, status: object) -> grpc.GenericRpcHandler:
    """Return the service's methods, for `server.add_generic_rpc_handlers`."""
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Run": grpc.unary_unary_rpc_method_handler(
                run,
                request_deserializer=farm_pb2.RunScriptRequest.FromString,
                response_serializer=farm_pb2.RunScriptReply.SerializeToString,
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                watch,
                request_deserializer=farm_pb2.RunScriptRequest.FromString,
                response_serializer=farm_pb2.Progress.SerializeToString,
            ),
            "Status": grpc.unary_unary_rpc_method_handler(
                status,
                request_deserializer=farm_pb2.StatusRequest.FromString,
                response_serializer=farm_pb2.StatusReply.SerializeToString,
            ),
        },
    )
