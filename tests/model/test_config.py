import jax
import numpy as np
import pytest

from mdx.config import dump_config, load_config
from mdx.errors import ConfigError
from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import abstract_params, init


@pytest.mark.parametrize("tied", [True, False])
def test_num_parameters_counts_every_weight(tied):
    config = ModelConfig(tie_word_embeddings=tied, num_hidden_layers=3)
    counted = sum(leaf.size for leaf in jax.tree.leaves(abstract_params(config)))
    assert config.num_parameters == counted


def test_default_model_is_about_two_million_parameters():
    assert 1.5e6 < ModelConfig().num_parameters < 2.5e6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_attention_heads": 4, "num_key_value_heads": 3}, "multiple of num_key_value_heads"),
        ({"head_dim": 7}, "head_dim must be even"),
    ],
)
def test_impossible_shapes_are_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        ModelConfig(**changes)


@pytest.mark.parametrize("field", ["dtype", "attention", "remat"])
def test_unknown_choices_are_refused_by_name(field):
    with pytest.raises(ConfigError, match=f"{field} must be one of"):
        ComputeConfig(**{field: "quick"})


def test_cudnn_is_refused_in_float32():
    with pytest.raises(ConfigError, match="bfloat16"):
        ComputeConfig(attention="cudnn")


def test_configurations_survive_yaml(tmp_path):
    compute = ComputeConfig(dtype="bfloat16", remat="full", vocab_block=7)
    file = tmp_path / "compute.yaml"
    file.write_text(dump_config(compute))
    assert load_config(ComputeConfig, str(file)) == compute


def test_weights_have_the_requested_spread_and_follow_the_key():
    config = ModelConfig(initializer_range=0.05)
    _, params = init(config, key=jax.random.key(3))
    gate = np.asarray(params["layers"]["mlp"]["gate_proj"])
    assert abs(gate.std() - 0.05) < 0.001
    assert abs(gate.mean()) < 0.001
    assert np.all(np.asarray(params["norm"]) == 1)
    _, same = init(config, key=jax.random.key(3))
    _, other = init(config, key=jax.random.key(4))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), params, same))
    assert not np.array_equal(other["embed_tokens"], params["embed_tokens"])
