from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunScriptRequest(_message.Message):
    __slots__ = ("script", "files", "limits_json", "task_json", "want_outputs", "priority", "image_pixels", "without_evidence")
    class FilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    SCRIPT_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_JSON_FIELD_NUMBER: _ClassVar[int]
    TASK_JSON_FIELD_NUMBER: _ClassVar[int]
    WANT_OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    script: str
    files: _containers.ScalarMap[str, bytes]
    limits_json: bytes
    task_json: bytes
    want_outputs: _containers.RepeatedScalarFieldContainer[str]
    priority: int
    image_pixels: int
    without_evidence: bool
    def __init__(self, script: _Optional[str] = ..., files: _Optional[_Mapping[str, bytes]] = ..., limits_json: _Optional[bytes] = ..., task_json: _Optional[bytes] = ..., want_outputs: _Optional[_Iterable[str]] = ..., priority: _Optional[int] = ..., image_pixels: _Optional[int] = ..., without_evidence: _Optional[bool] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("log", "reply")
    LOG_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    log: str
    reply: RunScriptReply
    def __init__(self, log: _Optional[str] = ..., reply: _Optional[_Union[RunScriptReply, _Mapping]] = ...) -> None: ...

class RunScriptReply(_message.Message):
    __slots__ = ("result_json", "from_cache")
    RESULT_JSON_FIELD_NUMBER: _ClassVar[int]
    FROM_CACHE_FIELD_NUMBER: _ClassVar[int]
    result_json: bytes
    from_cache: bool
    def __init__(self, result_json: _Optional[bytes] = ..., from_cache: _Optional[bool] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("num_slots", "num_busy", "num_waiting", "num_runs", "num_cache_hits", "num_slots_lost", "sandbox", "not_held", "lammps_version", "draining", "identity")
    class NotHeldEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NUM_SLOTS_FIELD_NUMBER: _ClassVar[int]
    NUM_BUSY_FIELD_NUMBER: _ClassVar[int]
    NUM_WAITING_FIELD_NUMBER: _ClassVar[int]
    NUM_RUNS_FIELD_NUMBER: _ClassVar[int]
    NUM_CACHE_HITS_FIELD_NUMBER: _ClassVar[int]
    NUM_SLOTS_LOST_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    NOT_HELD_FIELD_NUMBER: _ClassVar[int]
    LAMMPS_VERSION_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    num_slots: int
    num_busy: int
    num_waiting: int
    num_runs: int
    num_cache_hits: int
    num_slots_lost: int
    sandbox: _containers.RepeatedScalarFieldContainer[str]
    not_held: _containers.ScalarMap[str, str]
    lammps_version: str
    draining: bool
    identity: str
    def __init__(self, num_slots: _Optional[int] = ..., num_busy: _Optional[int] = ..., num_waiting: _Optional[int] = ..., num_runs: _Optional[int] = ..., num_cache_hits: _Optional[int] = ..., num_slots_lost: _Optional[int] = ..., sandbox: _Optional[_Iterable[str]] = ..., not_held: _Optional[_Mapping[str, str]] = ..., lammps_version: _Optional[str] = ..., draining: _Optional[bool] = ..., identity: _Optional[str] = ...) -> None: ...
