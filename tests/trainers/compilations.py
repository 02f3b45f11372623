"""What JAX compiled in a process, read from what it said under JAX_LOG_COMPILES=1."""

import re

_LINE = re.compile(r"Compiling jit\((.*?)\) with global shapes and types (.*?)\. Argument mapping")


def compilations(said: str) -> list[tuple[str, str]]:
    """Return the (function, shapes and types of its arguments) that were compiled, in order."""
    return _LINE.findall(said)
