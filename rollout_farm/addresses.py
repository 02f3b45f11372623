"""Where workers are: fixed addresses, names whose records are workers, folders that name them.

    host:50051  [::1]:50051  unix:/path    one worker each
    dns:///name:50051                      every A and AAAA record of the name is a worker
    dir:/path                              every file in the folder holds the address of one

Several go into one text, with commas. Names and folders are read again and again, so that workers
come and go (a headless service of Kubernetes, a Slurm array). One that cannot be read at the moment
is worth what it said last: a name server's hiccup drains no worker. `registered` is the worker's
side of `dir:`.
"""

import contextlib
import ipaddress
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from mdx.errors import FarmError, UsageError

_FORMS = "host:port, [ipv6]:port or unix:/path, and for a client also dns:///name:port or dir:/path"
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_MAX_PORT = 65535
_MAX_FILE_BYTES = 1024  # of a file that holds one address
_DNS_EVERY_S = 5.0
_FOLDER_EVERY_S = 1.0


@dataclass(frozen=True)
class Address:
    """One worker: what gRPC dials, and the name that its certificate holds if that is another."""

    target: str
    server_name: str | None = None


class Source(Protocol):
    """Something that names workers; `every_s` is how often it is worth reading (0: once)."""

    @property
    def every_s(self) -> float:
        """See above."""

    def read(self) -> tuple[Address, ...]:
        """Return the workers of the moment. Raises FarmError, in one line, if it cannot tell."""


@dataclass(frozen=True)
class Fixed:
    """One worker that the user named."""

    address: Address
    every_s: float = 0.0

    def read(self) -> tuple[Address, ...]:
        """Return the worker."""
        return (self.address,)


@dataclass(frozen=True)
class DnsName:
    """A name of which each address record is a worker."""

    name: str
    port: int
    every_s: float = _DNS_EVERY_S

    def read(self) -> tuple[Address, ...]:
        """Look the name up; the workers' certificates hold the name, not the addresses."""
        try:
            found = socket.getaddrinfo(self.name, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise FarmError(f"dns:///{self.name}: no address is known ({reason})") from error
        hosts = dict.fromkeys(str(entry[4][0]) for entry in found)
        return tuple(Address(join_host_port(host, self.port), self.name) for host in hosts)


@dataclass(frozen=True)
class Folder:
    """A folder in which each file holds the address of a worker; hidden files do not count."""

    path: str
    every_s: float = _FOLDER_EVERY_S

    def read(self) -> tuple[Address, ...]:
        """Read the files; those that are empty or just vanished are no workers."""
        try:
            paths = sorted(path for path in Path(self.path).iterdir() if path.name[0] != ".")
        except OSError as error:
            raise FarmError(f"dir:{self.path}: {error.strerror}") from error
        addresses: list[Address] = []
        problem = None
        for path in paths:
            try:
                if text := _read_line(path):
                    addresses.append(parse_address(text))
            except UsageError as error:
                problem = f"{path}: {error}"
        if problem and not addresses:
            raise FarmError(problem)
        return tuple(addresses)


@dataclass(kw_only=True)
class AddressBook:
    """What all sources say. For one thread at a time."""

    sources: Sequence[Source]
    problems: tuple[str, ...] = ()  # of the sources that named nobody when they were last read
    _known: dict[Source, tuple[Address, ...]] = field(default_factory=dict)
    _problem_of: dict[Source, str] = field(default_factory=dict)
    _read_at: dict[Source, float] = field(default_factory=dict)

    @property
    def every_s(self) -> float:
        """How often it is worth reading; 0: once."""
        return min((source.every_s for source in self.sources if source.every_s), default=0.0)

    def read(self) -> tuple[Address, ...]:
        """Return the addresses of the moment, each once, after reading what is due."""
        for source in self.sources:
            if self._is_due(source):
                self._read_source(source)
        self.problems = tuple(
            self._problem_of[source]
            for source in self.sources
            if source in self._problem_of and not self._known.get(source)
        )
        unique = {
            address.target: address
            for source in self.sources
            for address in self._known.get(source, ())
        }
        return tuple(unique.values())

    def _is_due(self, source: Source) -> bool:
        if not self._known.get(source):
            return True
        return 0 < source.every_s <= time.monotonic() - self._read_at[source]

    def _read_source(self, source: Source) -> None:
        self._read_at[source] = time.monotonic()
        try:
            self._known[source] = source.read()
            self._problem_of[source] = f"{_spell(source)} names no worker yet"
        except FarmError as error:
            self._problem_of[source] = str(error)


def parse_sources(texts: str | Sequence[str]) -> tuple[Source, ...]:
    """Return the sources that a user named, also several in a text. Raises UsageError."""
    if isinstance(texts, str):
        texts = (texts,)
    return tuple(_parse_source(part.strip()) for text in texts for part in text.split(","))


def parse_address(text: str) -> Address:
    """Return the one worker at `host:port` or `unix:/path`. Raises UsageError for another form."""
    if text.startswith("unix:"):
        if not text.removeprefix("unix:").startswith("/"):
            raise UsageError(f"a unix socket needs its whole path, unix:/path, not {text!r}")
        return Address(text)
    host, port = split_host_port(text)
    if port == 0:
        raise UsageError(
            f"the address of a worker needs a port from 1 to {_MAX_PORT}, not {text!r}"
        )
    return Address(join_host_port(host, port))


def split_host_port(text: str) -> tuple[str, int]:
    """Return the host, without brackets, and the port. Raises UsageError."""
    host, _, port = text.rpartition(":")
    is_ipv6 = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if is_ipv6 else host
    if not port.isascii() or not port.isdigit() or int(port) > _MAX_PORT:
        raise _malformed(text)
    try:
        if is_ipv6:
            ipaddress.IPv6Address(host)
    except ValueError as error:
        raise _malformed(text) from error
    if not is_ipv6 and not _HOST.fullmatch(host):
        raise _malformed(text)
    return host, int(port)


def join_host_port(host: str, port: int) -> str:
    """Return `host:port`, with brackets where the host is an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(listen: str) -> bool:
    """Tell whether only this machine reaches a worker that listens there. Raises UsageError."""
    if listen.startswith("unix:"):
        return True
    host, _ = split_host_port(listen)
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def reachable_address(bound: str) -> str:
    """Return the address at which others find a worker that is bound to `bound`."""
    if bound.startswith("unix:"):
        return bound
    host, port = split_host_port(bound)
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_unspecified:
            return join_host_port(socket.gethostname(), port)
    return bound


@contextlib.contextmanager
def registered(folder: str, address: str) -> Iterator[None]:
    """Keep a file with `address` in `folder` (if there is one) for clients that watch it.

    A worker that is killed leaves its file behind, which does clients no harm.
    """
    if not folder:
        yield
        return
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    path, unfinished = Path(folder) / name, Path(folder) / f".{name}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(f"{address}\n")
        unfinished.rename(path)
    except OSError as error:
        raise UsageError(
            f"register_dir={folder} must be a folder that this worker can write to: "
            f"{error.strerror}"
        ) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _parse_source(text: str) -> Source:
    if text.startswith("dir:"):
        if not text.removeprefix("dir:"):
            raise UsageError("dir: needs the path of a folder after it, dir:/path")
        return Folder(text.removeprefix("dir:"))
    if not text.startswith("dns:"):
        return Fixed(parse_address(text))
    if not text.startswith("dns:///"):
        raise UsageError(f"a name to look up is written dns:///name:port, not {text!r}")
    name, port = split_host_port(text.removeprefix("dns:///"))
    if port == 0:
        raise _malformed(text)
    return DnsName(name, port)


def _spell(source: Source) -> str:
    match source:
        case DnsName():
            return f"dns:///{source.name}:{source.port}"
        case Folder():
            return f"dir:{source.path}"
        case _:
            return "an address"


def _malformed(text: str) -> UsageError:
    return UsageError(f"{text!r} is no address: it must be {_FORMS}")


def _read_line(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode("utf-8", "replace").strip()
    except OSError:
        return ""
