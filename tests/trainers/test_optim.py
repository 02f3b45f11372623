"""The learning rate's schedule and the optimizer, against closed forms and NumPy in float64."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mdx.errors import ConfigError
from trainers.optim import OptimConfig, decay_mask, make_optimizer, make_schedule


def test_schedule_rises_linearly_then_falls_as_a_cosine_to_its_end():
    config = OptimConfig(num_steps=50, warmup_steps=9, peak_lr=2e-3, end_lr_fraction=0.1)
    schedule = make_schedule(config)
    for step in (0, 4, 8):
        assert float(schedule(step)) == pytest.approx(2e-3 * (step + 1) / 10, rel=1e-5)
    for step in (9, 20, 49, 50):
        cosine = 0.5 * (1 + math.cos(math.pi * (step - 9) / 41))
        assert float(schedule(step)) == pytest.approx(2e-3 * (0.1 + 0.9 * cosine), rel=1e-5)


def test_schedule_without_warmup_starts_at_the_peak_and_can_stay_there():
    config = OptimConfig(num_steps=5, warmup_steps=0, peak_lr=0.5, end_lr_fraction=1.0)
    assert [float(make_schedule(config)(step)) for step in range(6)] == [0.5] * 6


def test_warmup_longer_than_the_run_still_reaches_the_peak():
    schedule = make_schedule(OptimConfig(num_steps=4, warmup_steps=100, peak_lr=1.0))
    assert float(schedule(3)) == pytest.approx(1.0)


def test_updates_agree_with_adamw_in_float64():
    config = OptimConfig(clip_norm=1.0, weight_decay=0.1, beta1=0.9, beta2=0.95)
    params = {"q_proj": jnp.array([[0.5, -1.0]]), "q_norm": jnp.array([1.5])}
    optimizer = make_optimizer(config)
    opt_state = optimizer.init(params)
    moments = dict.fromkeys(params, (0.0, 0.0))
    for step in (1, 2, 3):
        gradient = {"q_proj": jnp.array([[3.0, -4.0]]) * step, "q_norm": jnp.array([0.0])}
        direction, opt_state = optimizer.update(gradient, opt_state, params)
        norm = 5.0 * step  # above clip_norm: the gradient is scaled to length 1
        for name in params:
            g = np.asarray(gradient[name], np.float64) / norm
            first, second = moments[name]
            moments[name] = (0.9 * first + 0.1 * g, 0.95 * second + 0.05 * g * g)
            first, second = moments[name]
            adam = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.95**step)) + 1e-8)
            decay = 0.0 if name == "q_norm" else 0.1 * np.asarray(params[name], np.float64)
            np.testing.assert_allclose(direction[name], -(adam + decay), rtol=2e-5)


def test_clipping_scales_the_whole_gradient_and_zero_turns_it_off():
    gradient = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    # with beta1 = 0 and a huge epsilon Adam gives gradient / epsilon: the clipping shows through
    for clip_norm, expected in ((1.0, 0.2), (10.0, 1.0), (0.0, 1.0)):
        config = OptimConfig(clip_norm=clip_norm, weight_decay=0.0, beta1=0.0, epsilon=1e8)
        optimizer = make_optimizer(config)
        direction, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
        np.testing.assert_allclose(direction["a"] * 1e8, [-3.0 * expected], rtol=1e-5)
        np.testing.assert_allclose(direction["b"] * 1e8, [-4.0 * expected], rtol=1e-5)


def _layers_and_gradient():
    """Two layers' worth of every kind of leaf, named as the decoder names them."""
    shapes = {
        "embed_tokens": (16, 8),
        "layers": {
            "self_attn": {"q_proj": (2, 8, 2, 4), "o_proj": (2, 2, 4, 8), "q_norm": (2, 4)},
            "mlp": {"gate_proj": (2, 8, 12), "down_proj": (2, 12, 8)},
            "input_layernorm": (2, 8),
        },
        "norm": (8,),
    }
    rng = np.random.default_rng(0)

    def draw():
        return jax.tree.map(
            lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
            shapes,
            is_leaf=lambda node: isinstance(node, tuple),
        )

    return draw(), draw()


@pytest.fixture(scope="module")
def muon_directions():
    """Return the parameters, the gradient and Muon's first direction with and without decay."""
    params, gradient = _layers_and_gradient()
    directions = []
    for weight_decay in (0.1, 0.0):
        config = OptimConfig(
            algorithm="muon", muon_lr_ratio=3.0, weight_decay=weight_decay, clip_norm=0.0
        )
        optimizer = make_optimizer(config)
        update = jax.jit(optimizer.update)
        directions.append(update(gradient, optimizer.init(params), params)[0])
    return params, gradient, *directions


def test_muon_orthogonalises_each_layer_by_itself(muon_directions):
    _, gradient, _, direction = muon_directions
    layers = direction["layers"]
    matrices = {
        "q_proj": (layers["self_attn"]["q_proj"], (8, 8)),
        "o_proj": (layers["self_attn"]["o_proj"], (8, 8)),
        "gate_proj": (layers["mlp"]["gate_proj"], (8, 12)),
        "down_proj": (layers["mlp"]["down_proj"], (12, 8)),
    }
    for name, (stack, shape) in matrices.items():
        for matrix in np.asarray(stack):
            values = np.linalg.svd(matrix.reshape(shape), compute_uv=False) / 3.0
            # five Newton-Schulz iterations leave singular values near 1, times the aspect's scale
            scale = max(1.0, shape[1] / shape[0]) ** 0.5
            assert (values / scale > 0.5).all(), (name, values)
            assert (values / scale < 1.5).all(), (name, values)
    descent = jax.tree.map(lambda d, g: float((d * g).sum()), layers, gradient["layers"])
    assert all(value < 0 for value in jax.tree.leaves(descent))


def test_muon_leaves_embeddings_and_norms_to_adamw_with_nesterov_momentum(muon_directions):
    params, gradient, direction, _ = muon_directions
    first = {
        "embed_tokens": lambda tree: tree["embed_tokens"],
        "norm": lambda tree: tree["norm"],
        "input_layernorm": lambda tree: tree["layers"]["input_layernorm"],
    }
    for name, leaf in first.items():
        g, weight = (np.asarray(leaf(tree), np.float64) for tree in (gradient, params))
        # after one step the corrected moments are g and g^2; Nesterov looks a step ahead
        ahead = 0.9 * (0.1 * g) / (1 - 0.9**2) + 0.1 * g / (1 - 0.9)
        decay = 0.1 * weight if name == "embed_tokens" else 0.0
        expected = -(ahead / (np.abs(g) + 1e-8) + decay)
        np.testing.assert_allclose(leaf(direction), expected, rtol=1e-4, atol=1e-5)


def test_muon_decays_weights_by_the_learning_rate_of_adamw(muon_directions):
    params, _, with_decay, without = muon_directions
    decay = jax.tree.map(lambda a, b: np.asarray(a - b), with_decay, without)
    gate = params["layers"]["mlp"]["gate_proj"]
    np.testing.assert_allclose(decay["layers"]["mlp"]["gate_proj"], -0.1 * gate, atol=2e-6)
    np.testing.assert_allclose(decay["embed_tokens"], -0.1 * params["embed_tokens"], atol=2e-6)
    assert not decay["norm"].any()
    assert not decay["layers"]["self_attn"]["q_norm"].any()


def test_norms_do_not_decay_though_stacked_layers_make_them_matrices():
    params = {
        "layers": {
            "self_attn": {"q_proj": jnp.ones((2, 4, 4)), "q_norm": jnp.ones((2, 4))},
            "input_layernorm": jnp.ones((2, 4)),
        },
        "norm": jnp.ones(4),
        "embed_tokens": jnp.ones((8, 4)),
    }
    mask = decay_mask(params)
    assert mask["embed_tokens"]
    assert mask["layers"]["self_attn"]["q_proj"]
    decayed = sum(jax.tree.leaves(mask))
    assert decayed == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("algorithm", "sgd"),
        ("muon_lr_ratio", 0.0),
        ("num_steps", 0),
        ("peak_lr", 0.0),
        ("warmup_steps", -1),
        ("end_lr_fraction", 1.5),
        ("weight_decay", -0.1),
        ("clip_norm", -1.0),
        ("beta2", 1.0),
    ],
)
def test_impossible_values_are_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=field):
        OptimConfig(**{field: value})


def test_every_field_moves_the_update():
    base = OptimConfig(num_steps=10, warmup_steps=3)
    changes = {
        "algorithm": "muon",
        "num_steps": 20,
        "peak_lr": 2e-3,
        "warmup_steps": 0,
        "end_lr_fraction": 0.5,
        "weight_decay": 0.0,
        "clip_norm": 0.1,
        "beta1": 0.5,
        "beta2": 0.5,
        "epsilon": 1e-1,
    }
    fields = {field.name for field in dataclasses.fields(OptimConfig)}
    assert set(changes) | {"muon_lr_ratio"} == fields
    reference = _trace(base)
    for field, value in changes.items():
        assert _trace(dataclasses.replace(base, **{field: value})) != reference, field
    muon = dataclasses.replace(base, algorithm="muon")
    assert _trace(dataclasses.replace(muon, muon_lr_ratio=2.0)) != _trace(muon)


def _trace(config: OptimConfig) -> list[float]:
    """Return a weight of a layer over some steps of descent along a changing gradient."""
    schedule, optimizer = make_schedule(config), make_optimizer(config)
    params = {"layers": {"up_proj": jnp.array([[[1.0, -0.5]]])}}
    opt_state = optimizer.init(params)
    update, values = jax.jit(optimizer.update), []
    for step in range(9):
        slope = jnp.array([[[0.2 + (step == 3) * 2.0, 0.01 * step]]])
        direction, opt_state = update({"layers": {"up_proj": slope}}, opt_state, params)
        params = jax.tree.map(lambda p, d, s=step: p + schedule(s) * d, params, direction)
        values.append(float(params["layers"]["up_proj"][0, 0, 0]))
    return values
