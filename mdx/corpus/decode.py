"""Bytes of a file as text, with every way in which that can fail named."""

import gzip
import os
import re
import stat
import zlib

from mdx.corpus.config import ReadLimits

_CHUNK_BYTES = 1 << 20
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MAX_CONTROL_SHARE = 0.001


class UnreadableError(Exception):
    """A file that gives no text: `reason` is one of a few, `detail` says more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def read_bytes(path: str, limits: ReadLimits) -> bytes:
    """Return the content of a regular file, decompressed where its name ends in `.gz`.

    Raises UnreadableError where it is too large, truncated or not to be opened.
    """
    try:
        # never wait for a pipe's other end, never follow a link that took the file's place
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        raise UnreadableError("cannot be opened", error.strerror or "") from error
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError("not a regular file")
        if status.st_size > limits.max_file_bytes:
            raise UnreadableError("too large", f"{status.st_size} bytes")
        content = file.read(limits.max_file_bytes + 1)
    return _decompress(content, limits) if path.endswith(".gz") else content


def _decompress(content: bytes, limits: ReadLimits) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    if not content.startswith(b"\x1f\x8b"):
        raise UnreadableError("broken gzip", "it does not start as gzip does")
    try:
        text = decompressor.decompress(content, limits.max_file_bytes + 1)
    except (zlib.error, gzip.BadGzipFile) as error:
        raise UnreadableError("broken gzip", str(error)) from error
    if len(text) > limits.max_file_bytes:
        raise UnreadableError("too large", "after decompression")
    if not decompressor.eof:
        raise UnreadableError("broken gzip", "it is truncated")
    return text


def decode(content: bytes, limits: ReadLimits) -> str:
    """Return `content` as text with `\\n` at the end of lines.

    UTF-8, and UTF-16 with its mark, are text; anything else is reported rather than guessed.
    Raises UnreadableError for an empty, binary, wrongly encoded or oversized text.
    """
    if not content.strip():
        raise UnreadableError("empty file")
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    if encoding == "utf-8-sig" and b"\x00" in content:
        raise UnreadableError("binary file", f"a zero byte at {content.index(0)}")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        raise UnreadableError("wrong encoding", f"no UTF-8 at byte {error.start}") from error
    if len(text) > limits.max_text_chars:
        raise UnreadableError("too large", f"{len(text)} characters")
    if len(_CONTROL.findall(text)) > _MAX_CONTROL_SHARE * len(text):
        raise UnreadableError("binary file", "control characters")
    return _CONTROL.sub("", text).replace("\r\n", "\n").replace("\r", "\n").replace("\x0b", "\n")


def check_lines(text: str, limits: ReadLimits) -> None:
    """Raise UnreadableError where a line is longer than people write."""
    longest = max((len(line) for line in text.split("\n")), default=0)
    if longest > limits.max_line_chars:
        raise UnreadableError("endless line", f"{longest} characters")
