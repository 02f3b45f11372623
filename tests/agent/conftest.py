"""A real farm on this machine, shared by the tests of the agent."""

from collections.abc import Iterator

import numpy as np
import pytest

from rollout_farm.client import Farm


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    with Farm(num_slots=1) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the Hugging Face directory of a random model of one layer."""
    import jax

    from mdx.model.config import ModelConfig
    from mdx.model.decoder import abstract_params
    from mdx.model.hf import save_hf
    from mdx.tokenizer import SMALLEST_VOCABULARY, Tokenizer, train_tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer_dir, model_dir = str(folder / "tokenizer"), str(folder / "model")
    train_tokenizer(
        ["units lj\nlattice fcc 0.8442\nrun 10\n"] * 4, tokenizer_dir, SMALLEST_VOCABULARY
    )
    config = ModelConfig(
        vocab_size=Tokenizer.load(tokenizer_dir).vocab_size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=512,
    )
    rng, shapes = np.random.default_rng(0), abstract_params(config)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype("float32"), shapes)
    save_hf(params, config, tokenizer_dir, model_dir)
    return model_dir


@pytest.fixture(scope="session")
def farm_address(farm: Farm) -> str:
    """Return where the shared farm's worker listens."""
    return farm.fleet.workers[0].address
