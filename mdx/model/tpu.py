"""What a TPU generation wants of us: compiler options of the training step, blocks of attention.

Training on a TPU and `mdx-train plan` take both from here, so a plan speaks of what will run. The
values were ranked by projecting Qwen3-8B's step with each (docs/log.md); none changes a result.
"""

import glob
import importlib.util
from typing import Any

import jax

GENERATIONS = {
    "TPU v5 lite": "v5e",
    "TPU v5": "v5p",
    "TPU v5p": "v5p",
    "TPU v6 lite": "v6e",
    "TPU v6e": "v6e",
    "TPU7x": "tpu7x",
}
# Gather the next layer's weights while this one computes, and leave gradients' sums to the sparse
# cores meanwhile: without the latter, fully sharded gradients are summed whole on every chip.
_OVERLAP = {
    "xla_enable_async_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion": "true",
    "xla_tpu_enable_async_collective_fusion_fuse_all_gather": "true",
    "xla_tpu_enable_async_collective_fusion_multiple_steps": "true",
    "xla_tpu_overlap_compute_collective_tc": "true",
}
_SPARSE_CORE = {
    "xla_tpu_enable_sparse_core_collective_offload_reduce_scatter": "true",
    "xla_tpu_enable_sparse_core_collective_offload_nd_reduce_scatter": "true",
}
# Fast memory that one fusion may take, KiB: larger tiles of products, 71 to 93 % of their peak on
# v5p, for twice the compiler's time or more. A third more on v5p compiles longer and is no faster;
# a fifth more on v6e is faster by 1 % on 256 chips and by nothing on 64 (docs/log.md).
_TILES = "xla_tpu_scoped_vmem_limit_kib"
_OPTIONS = {
    "v5e": _OVERLAP,
    "v5p": {**_OVERLAP, **_SPARSE_CORE, _TILES: "49152"},
    "v6e": {**_OVERLAP, **_SPARSE_CORE, _TILES: "81920"},
    "tpu7x": _OVERLAP,
}
SPLASH_BLOCK = {"v5e": 1024, "v5p": 1024, "v6e": 1024, "tpu7x": 1024}


def generation(device: jax.Device) -> str | None:
    """Return "v5e", "v5p", "v6e" or "tpu7x", or None for a device that is none of them."""
    return GENERATIONS.get(device.device_kind) if device.platform == "tpu" else None


def compiler_options(device: jax.Device) -> dict[str, str]:
    """Return the `compiler_options` of a step that runs on devices like `device`."""
    return dict(_OPTIONS.get(generation(device) or "", {}))


def ignore_absent_tpu() -> None:
    """Keep JAX from starting the TPU runtime where libtpu is installed but there is no TPU.

    It would cost every command a third of a second and three lines of warnings. A platform that was
    chosen (JAX_PLATFORMS) stays, and with a CUDA plugin JAX has to look for itself.
    """
    settings: Any = jax.config
    chips = glob.glob("/dev/accel*") + glob.glob("/dev/vfio/[0-9]*")
    cuda = any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13))
    installed = importlib.util.find_spec("libtpu") is not None
    if installed and not chips and not cuda and not settings.jax_platforms:
        jax.config.update("jax_platforms", "cpu")
