"""Tiny random models, whose norms are random too so that no weight is invisible."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import GraphDef, Params, abstract_params, structure

TINY = dict(
    vocab_size=61,
    hidden_size=24,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=3,
    head_dim=8,
    rope_theta=5_000.0,
    max_position_embeddings=256,
    initializer_range=0.3,
)


def make_model(
    compute: ComputeConfig | None = None, seed: int = 0, **changes: object
) -> tuple[ModelConfig, GraphDef, Params]:
    config = ModelConfig(**{**TINY, **changes})
    rng = np.random.default_rng(seed)

    def draw(path: tuple, shape: jax.ShapeDtypeStruct) -> jax.Array:
        is_norm = "norm" in path[-1].key
        spread, mean = (0.3, 1.0) if is_norm else (config.initializer_range, 0.0)
        return jnp.asarray(mean + spread * rng.standard_normal(shape.shape, np.float32))

    params = jax.tree_util.tree_map_with_path(draw, abstract_params(config))
    return config, structure(config, compute), params


@pytest.fixture(scope="session")
def model_factory():
    return make_model


@pytest.fixture(scope="session")
def tiny_model():
    return make_model()
