"""Rotary positions: the frequencies of a model's configuration, and turning heads by them.

Frequencies are those that transformers computes.

Four kinds: "default"; "linear", which slows all frequencies; "yarn" and "llama3", which slow the
low ones only. They depend on the configuration alone: constants of the compiled program.

Not covered: "dynamic" and "longrope", whose frequencies depend on the length of the row.

Reference: Su et al. 2021 (RoFormer); Peng et al. 2023 (YaRN), section 3; the Llama 3.1 release.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from mdx.errors import ConfigError

# Which fields of `RopeScaling` each kind looks at, and which of them it cannot do without.
FIELDS: dict[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "yarn": (
        *("factor", "original_max_position_embeddings", "attention_factor", "beta_fast"),
        *("beta_slow", "mscale", "mscale_all_dim", "truncate"),
    ),
    "llama3": (
        *("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    ),
}
REQUIRED = ("factor", "low_freq_factor", "high_freq_factor")


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How a model stretches its positions; fields and defaults are those of transformers.

    original_max_position_embeddings: of pre-training; 0 means max_position_embeddings.
    attention_factor: multiplies cosines and sines; None derives it from factor and the mscales.
    beta_fast, beta_slow: rotations within the original length above which a frequency stays, and
        below which it is divided by `factor`.
    """

    rope_type: str = "default"
    factor: float = 1.0
    original_max_position_embeddings: int = 0
    attention_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    mscale: float = 0.0
    mscale_all_dim: float = 0.0
    truncate: bool = True
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    def __post_init__(self) -> None:
        if self.rope_type not in FIELDS:
            raise ConfigError(
                f"rope_scaling.rope_type must be one of {', '.join(FIELDS)}, not {self.rope_type!r}"
            )
        if self.factor < 1:
            raise ConfigError(f"rope_scaling.factor must be 1 or more, not {self.factor}")
        if self.low_freq_factor >= self.high_freq_factor:
            raise ConfigError("rope_scaling.low_freq_factor must be below high_freq_factor")

    def to_json(self, max_position_embeddings: int) -> dict[str, Any]:
        """Return the fields that this kind looks at, as config.json spells them."""
        used = {name: getattr(self, name) for name in FIELDS[self.rope_type]}
        if "original_max_position_embeddings" in used:
            used["original_max_position_embeddings"] = (
                self.original_max_position_embeddings or max_position_embeddings
            )
        optional = ("attention_factor", "mscale", "mscale_all_dim")
        kept = {name: value for name, value in used.items() if value or name not in optional}
        return {"rope_type": self.rope_type, **kept}


def frequencies(
    scaling: RopeScaling, *, head_dim: int, theta: float, max_position_embeddings: int
) -> tuple[np.ndarray, float]:
    """Return the float32 angle per position of each pair, [head_dim / 2], and the cosines' factor.

    The default is theta^(-2i / head_dim) and 1.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    periods = np.power(np.float64(theta), exponents).astype(np.float32)
    plain = (np.float32(1.0) / periods).astype(np.float32)
    original = scaling.original_max_position_embeddings or max_position_embeddings
    if scaling.rope_type == "linear":
        return plain / np.float32(scaling.factor), 1.0
    if scaling.rope_type == "yarn":
        kept = _yarn_kept(scaling, head_dim, theta, original)
        slow = np.float32(1.0) / (np.float32(scaling.factor) * periods)
        return slow * (1 - kept) + plain * kept, _yarn_attention_factor(scaling)
    if scaling.rope_type == "llama3":
        return _llama3(scaling, plain, original), 1.0
    return plain, 1.0


def _yarn_kept(scaling: RopeScaling, head_dim: int, theta: float, original: int) -> np.ndarray:
    """Return the share of each frequency that stays as it was: 1 for fast ones, 0 for slow ones."""

    def pair_of(rotations: float) -> float:
        return head_dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = pair_of(scaling.beta_fast), pair_of(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    high += 0.001 if low == high else 0
    pairs = np.arange(head_dim // 2, dtype=np.float32)
    return (1 - np.clip((pairs - low) / (high - low), 0, 1)).astype(np.float32)


def _yarn_attention_factor(scaling: RopeScaling) -> float:
    if scaling.attention_factor is not None:
        return scaling.attention_factor

    def mscale(weight: float) -> float:
        return 0.1 * weight * math.log(scaling.factor) + 1.0

    if scaling.mscale and scaling.mscale_all_dim:
        return mscale(scaling.mscale) / mscale(scaling.mscale_all_dim)
    return mscale(1.0)


def _llama3(scaling: RopeScaling, plain: np.ndarray, original: int) -> np.ndarray:
    """Divide long waves by the factor, keep short ones, and blend between the two."""
    rotations = original / (2 * np.float32(math.pi) / plain)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = np.clip((rotations - low) / (high - low), 0, 1)
    return (plain * ((1 - kept) / scaling.factor + kept)).astype(np.float32)


def rotate(x: Float[Array, "... N H"], cosines: Array, sines: Array) -> Float[Array, "... N H"]:
    """Turn the pairs (x[i], x[i + H/2]) of every head by the position's angles [..., H/2]."""
    first, second = jnp.split(x, 2, axis=-1)
    cosines, sines = cosines[..., None, :].astype(x.dtype), sines[..., None, :].astype(x.dtype)
    return jnp.concatenate(
        [first * cosines - second * sines, second * cosines + first * sines], axis=-1
    )


def rotate_by_product(
    x: Float[Array, "... N H"], cosines: Array, sines: Array
) -> Float[Array, "... N H"]:
    """Do as `rotate`, the halves exchanged by a product with a matrix of 0, 1 and -1: exact.

    For TPUs: halves of 64 leave half of a vector's lanes empty, and the compiler writes them to
    memory; with the product the norm before and the layout after become one fusion with it.
    """
    half = x.shape[-1] // 2
    eye = np.eye(half, dtype=x.dtype)
    zero = np.zeros_like(eye)
    exchange = np.block([[zero, eye], [-eye, zero]])  # (first, second) -> (-second, first)
    turned = jnp.matmul(x, exchange, precision=jax.lax.Precision.HIGHEST)
    cosines, sines = (
        jnp.concatenate([angles, angles], axis=-1)[..., None, :].astype(x.dtype)
        for angles in (cosines, sines)
    )
    return x * cosines + turned * sines
