"""Keep compiled programs on disk, so that a command that was run before starts at once.

Called by the entry points that compile (never on import): training, evaluation, the agent.
"""

import os
from pathlib import Path

import jax

from mdx.errors import UsageError
from mdx.model.tpu import ignore_absent_tpu

_WORTH_KEEPING_S = 0.5


def enable_compilation_cache() -> None:
    """Use `$MDX_CACHE_DIR/jax`, by default `~/.cache/mdx/jax`, for compilations from now on.

    Where libtpu came with the extra `plan`, JAX is told first that there is no TPU. Raises
    UsageError where the directory cannot be written.
    """
    ignore_absent_tpu()
    cache = Path(os.environ.get("MDX_CACHE_DIR") or "~/.cache/mdx").expanduser() / "jax"
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"MDX_CACHE_DIR must be a directory that can be written: {error}"
        ) from error
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING_S)
