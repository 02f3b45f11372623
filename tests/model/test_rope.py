"""Rotary positions against transformers' own, and both spellings of their configuration."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from transformers import Qwen3Config
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from mdx.errors import ConfigError, UsageError
from mdx.model.config import ModelConfig
from mdx.model.hf_config import read_config, to_json
from mdx.model.rope import RopeScaling, frequencies, rotate, rotate_by_product

SCALINGS = [
    {"rope_type": "default"},
    {"rope_type": "linear", "factor": 2.5},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
    {"rope_type": "yarn", "factor": 8.0, "beta_fast": 20.0, "beta_slow": 2.0, "truncate": False},
    {"rope_type": "yarn", "factor": 4.0, "attention_factor": 1.3},
    {"rope_type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 1.1},
    {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
]


def config_of(scaling, theta=1e6):
    return ModelConfig(
        head_dim=128,
        rope_theta=theta,
        max_position_embeddings=40960,
        rope_scaling=RopeScaling(**scaling),
    )


def write(folder, config, **changes):
    fields = to_json(config, "float32") | changes
    fields = {name: value for name, value in fields.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(fields))
    return read_config(str(folder))


@pytest.mark.parametrize("theta", [1e4, 1e6])
@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
def test_frequencies_are_those_of_transformers(scaling, theta):
    config = config_of(scaling, theta)
    theirs = Qwen3RotaryEmbedding(
        Qwen3Config(
            head_dim=128,
            max_position_embeddings=40960,
            rope_parameters={**scaling, "rope_theta": theta},
        )
    )
    found, factor = frequencies(
        config.rope_scaling, head_dim=128, theta=theta, max_position_embeddings=40960
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, theirs.inv_freq.numpy(), rtol=4e-7)
    assert factor == pytest.approx(theirs.attention_scaling, rel=1e-12)


@pytest.mark.parametrize("scaling", SCALINGS, ids=str)
def test_both_spellings_are_read_as_transformers_reads_them(scaling, tmp_path):
    config = config_of(scaling)
    new = write(tmp_path, config)
    old = write(tmp_path, config, rope_parameters=None, rope_scaling=scaling)
    kind = {key: value for key, value in scaling.items() if key != "rope_type"}
    oldest = write(
        tmp_path,
        config,
        rope_parameters=None,
        rope_scaling={"type": scaling["rope_type"], **kind},
    )
    settings = {"head_dim": 128, "theta": 1e6, "max_position_embeddings": 40960}
    expected, factor = frequencies(config.rope_scaling, **settings)
    for found in (new, old, oldest):
        assert found.rope_theta == 1e6
        values, found_factor = frequencies(found.rope_scaling, **settings)
        np.testing.assert_array_equal(values, expected)
        assert found_factor == factor


def test_theta_alone_is_the_old_spelling_of_the_default(tmp_path):
    found = write(tmp_path, config_of({}), rope_parameters=None, rope_theta=123.0)
    assert (found.rope_theta, found.rope_scaling) == (123.0, RopeScaling())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope_parameters = .*dyn"),
        ({"rope_scaling": {"type": "longrope"}, "rope_parameters": None}, "rope_scaling = .*long"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "of type 'yarn' without factor"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2, "beta_fast": 1}}, "beta_fast"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 0.5}}, "factor must be 1 or more"),
        ({"rope_parameters": {"rope_theta": 5.0}, "rope_theta": 6.0}, "must agree"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 3.0}}, "must agree"),
    ],
)
def test_what_is_not_computed_is_refused(tmp_path, fields, said):
    with pytest.raises(UsageError, match=f"asks for what MDX does not compute: .*{said}"):
        write(tmp_path, config_of({}), **fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"rope_type": "ntk"}, "rope_scaling.rope_type must be one of default, linear"),
        ({"factor": 0.9}, "rope_scaling.factor must be 1 or more"),
        ({"low_freq_factor": 4.0}, "low_freq_factor must be below"),
    ],
)
def test_impossible_scalings_are_refused_by_name(fields, said):
    with pytest.raises(ConfigError, match=said):
        RopeScaling(**fields)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_halves_may_be_exchanged_by_a_product(dtype):
    keys = jax.random.split(jax.random.key(0), 3)
    x, weight = (jax.random.normal(key, (2, 5, 3, 128)).astype(dtype) for key in keys[:2])
    angles = jax.random.uniform(keys[2], (2, 5, 64), maxval=6.0)

    def outcome(turn):
        def weighted(x):
            turned = turn(x, jnp.cos(angles), jnp.sin(angles))
            return (turned * weight).sum(dtype=jnp.float32), turned

        gradient, turned = jax.grad(weighted, has_aux=True)(x)
        return turned.astype(jnp.float32), gradient.astype(jnp.float32)

    tolerance = 1e-6 if dtype == jnp.float32 else 0.04  # two roundings of values up to 5
    for found, expected in zip(outcome(rotate_by_product), outcome(rotate), strict=True):
        np.testing.assert_allclose(found, expected, atol=tolerance)
