"""Keep compiled programs on disk, so that a command that was run before starts at once.

Called by the entry points that compile (never on import): training, evaluation, the agent.
"""

import os
from pathlib import Path

import jax

from mdx.errors import UsageError

_WORTH_KEEPING_S = 0.5


def enable_compilation_cache() -> None:
    """Use `$MDX_CACHE_DIR/jax`, by default `~/.cache/mdx/jax`, for compilations from now on.

    Raises UsageError where the directory cannot be written.
    """
    cache = Path(os.environ.get("MDX_CACHE_DIR") or "~/.cache/mdx").expanduser() / "jax"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"MDX_CACHE_DIR must be a directory that can be written: {error}"
        ) from error
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING_S)
