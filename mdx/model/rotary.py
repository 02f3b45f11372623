"""Cosines and sines of rotary angles, computed once for all heads, layers and passes."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mdx.model.config import ModelConfig
from mdx.model.rope import frequencies
from mdx.model.sharding import over_rows


def rotary(
    positions: Int[Array, "..."], config: ModelConfig
) -> tuple[Float[Array, "... h"], Float[Array, "... h"]]:
    """Return the cosines and sines of positions * frequencies (`mdx.model.rope`), h = H / 2."""
    per_position, factor = frequencies(
        config.rope_scaling,
        head_dim=config.head_dim,
        theta=config.rope_theta,
        max_position_embeddings=config.max_position_embeddings,
    )
    per_position = per_position.reshape((1,) * positions.ndim + per_position.shape)
    angles = positions[..., None].astype(jnp.float32) * per_position
    cosines, sines = jax.lax.platform_dependent(
        angles, cpu=_cosines_and_sines_once, default=_cosines_and_sines
    )
    return (cosines, sines) if factor == 1 else (cosines * factor, sines * factor)


def _cosines_and_sines(angles: Array) -> tuple[Array, Array]:
    """Compute both; the barrier keeps a compiler from doing so again for every head."""
    return jax.lax.optimization_barrier((jnp.cos(angles), jnp.sin(angles)))


def _cosines_and_sines_once(angles: Array) -> tuple[Array, Array]:
    """Do the same on a CPU, where the compiler drops barriers but keeps what a loop gives apart."""

    def of_rows(angles: Array) -> Array:
        if angles.size % 2:
            return jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
        halves = angles.reshape(2, -1)
        both = jax.lax.map(lambda half: (jnp.cos(half), jnp.sin(half)), halves)
        return jnp.stack([x.reshape(angles.shape) for x in both], axis=1)

    both = over_rows(of_rows, angles)
    return both[:, 0], both[:, 1]
