"""A worker of one's own: a process on a unix socket that lives as long as its owner.

The worker's standard input is a pipe that only the owner holds: when the owner ends, however it
ends, the worker reads end-of-file and stops, and its zygotes with it. Owner and worker share one
folder in the temporary directory, which the last of them removes.
"""

import contextlib
import dataclasses
import os
import select
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import msgspec

from mdx.errors import FarmError
from rollout_farm.config import WORKER_ENVIRONMENT, WorkerConfig
from rollout_farm.slot import ROOT

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 5.0
_MAX_FOLDER_LENGTH = 80  # the kernel allows 107 bytes for the path of a socket
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from rollout_farm.worker import main; main()"
)


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What a worker says first: where it listens, or why it cannot serve."""

    address: str = ""
    num_slots: int = 0
    layers: tuple[str, ...] = ()
    error: str | None = None


class EmbeddedWorker:
    """Starts a worker process and stops it. Raises FarmError if it cannot serve."""

    def __init__(self, config: WorkerConfig):
        self._folder = _short_folder()
        self._process = _start(config, self._folder)
        try:
            self.ready = self._wait_ready()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process id of the worker."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the worker's process has not ended."""
        return self._process.poll() is None

    def close(self) -> None:
        """Stop the worker, by force if it does not go by itself."""
        assert self._process.stdin
        assert self._process.stdout
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait_ready(self) -> Ready:
        assert self._process.stdout
        readable, _, _ = select.select([self._process.stdout], [], [], _START_TIMEOUT_S)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            raise FarmError("the farm's own worker did not start; try `mdx-farm serve` to see why")
        ready = msgspec.json.decode(line, type=Ready)
        if ready.error:
            raise FarmError(ready.error)
        return ready


def _start(config: WorkerConfig, folder: str) -> "subprocess.Popen[bytes]":
    config = dataclasses.replace(config, listen=f"unix:{folder}/farm.sock")
    settings = msgspec.json.encode(config).decode()
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _BOOT, ROOT, settings],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={
            **WORKER_ENVIRONMENT,
            **os.environ,
            "GRPC_VERBOSITY": "NONE",
            "TMPDIR": folder,  # its slots' folders too
        },
        cwd="/",
        start_new_session=True,  # Ctrl-C is the owner's to handle
    )


def _short_folder() -> str:
    try:
        base = tempfile.gettempdir()
        base = base if len(os.fsencode(base)) < _MAX_FOLDER_LENGTH else "/tmp"
        return tempfile.mkdtemp(prefix="mdx-farm-", dir=base)
    except OSError as error:
        raise FarmError(
            f"no folder for temporary files can be used ({error.strerror or error}): make room in "
            "/tmp, or set TMPDIR to a folder that has some"
        ) from error
