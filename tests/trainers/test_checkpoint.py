"""Checkpoints: exact round trips, and one clear line for whatever is wrong with the disk."""

import os
import shutil
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mdx.errors import CheckpointError, ConfigError
from trainers.checkpoint import CheckpointConfig, Checkpointer
from trainers.optim import OptimConfig, make_optimizer
from trainers.state import create_state

OPTIMIZER = make_optimizer(OptimConfig())


def _state(seed: int = 0, shape: tuple[int, ...] = (16, 8), sharding=None):
    params = {"w": _normal(seed, shape), "norm": jnp.ones(3)}
    if sharding is not None:
        params["w"] = jax.device_put(params["w"], sharding)
        everywhere = NamedSharding(sharding.mesh, PartitionSpec())
        params["norm"] = jax.device_put(params["norm"], everywhere)
    state = create_state(params, OPTIMIZER, jax.random.key(seed + 100))
    _, opt_state = OPTIMIZER.update(params, state.opt_state, params)
    return type(state)(step=state.step + 7, params=params, opt_state=opt_state, key=state.key)


def _normal(seed: int, shape: tuple[int, ...]) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def _adam(state):
    return optax.tree_utils.tree_get(state.opt_state, "mu")


def _assert_equal(left, right):
    def plain(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(leaf) if is_key else leaf)

    jax.tree.map(lambda a, b: np.testing.assert_array_equal(plain(a), plain(b)), left, right)


def test_state_and_extra_come_back_exactly(tmp_path):
    state, extra = _state(), {"batches": {"window": 3}, "text": "ü", "reward": 0.1}
    with Checkpointer(str(tmp_path)) as checkpointer:
        checkpointer.save(7, state, extra)
    with Checkpointer(str(tmp_path)) as checkpointer:
        assert checkpointer.latest_step == 7
        restored, restored_extra = checkpointer.restore_latest(_state(seed=1))
    _assert_equal(restored, state)
    assert restored_extra == extra
    assert jax.random.uniform(restored.key) == jax.random.uniform(state.key)


def test_nothing_saved_gives_none(tmp_path):
    with Checkpointer(str(tmp_path)) as checkpointer:
        assert checkpointer.latest_step is None
        assert checkpointer.restore_latest(_state()) is None


def test_saved_values_are_those_of_the_call_though_the_state_is_donated_next(tmp_path):
    bump = jax.jit(lambda state: jax.tree.map(lambda x: x, state), donate_argnums=0)
    step = jax.jit(lambda params: params + 1.0, donate_argnums=0)
    params = jnp.zeros((512, 512))
    with Checkpointer(str(tmp_path), keep=5) as checkpointer:
        for number in range(1, 5):
            params = step(params)
            checkpointer.save(number, {"w": params}, {})
            params = bump(step(params))
    with Checkpointer(str(tmp_path), keep=5) as checkpointer:
        restored, _ = checkpointer.restore_latest({"w": jnp.zeros((512, 512))})
    assert restored["w"].min() == restored["w"].max() == 7.0


def test_only_the_newest_are_kept_and_saving_twice_is_harmless(tmp_path):
    with Checkpointer(str(tmp_path), keep=2) as checkpointer:
        for step in (1, 2, 3, 3):
            checkpointer.save(step, _state(seed=step), {"step": step})
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["2", "3"]


def test_restored_arrays_lie_where_the_new_run_puts_them(tmp_path):
    """A run saved on one device goes on over eight."""
    with Checkpointer(str(tmp_path)) as checkpointer:
        checkpointer.save(1, _state(), {})
    mesh = Mesh(np.array(jax.devices()), ("fsdp",))
    sharding = NamedSharding(mesh, PartitionSpec("fsdp", None))
    like = _state(seed=5, sharding=sharding)
    with Checkpointer(str(tmp_path)) as checkpointer:
        restored, _ = checkpointer.restore_latest(like)
    assert restored.params["w"].sharding == sharding
    assert _adam(restored)["w"].sharding.is_equivalent_to(sharding, 2)
    np.testing.assert_array_equal(restored.params["w"], _state().params["w"])


def test_half_written_step_is_ignored_and_swept_away(tmp_path):
    with Checkpointer(str(tmp_path)) as checkpointer:
        checkpointer.save(1, _state(), {"step": 1})
        checkpointer.save(2, _state(), {"step": 2})
    whole = tmp_path / "checkpoints" / "2"
    half = tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp"
    os.rename(whole, half)
    shutil.rmtree(half / "extra")
    (half / "commit_success.txt").unlink(missing_ok=True)
    with Checkpointer(str(tmp_path)) as checkpointer:
        assert checkpointer.restore_latest(_state())[1] == {"step": 1}
    assert not half.exists()


def _damage_truncate(step_dir):
    for file in step_dir.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:10])


def _damage_arrays(step_dir):
    for file in (step_dir / "state").rglob("d/*"):
        file.write_bytes(b"\0" * file.stat().st_size)


def _damage_extra(step_dir):
    (step_dir / "extra" / "extra.json").write_text('{"batches": ')


def _damage_foreign(step_dir):
    shutil.rmtree(step_dir)
    (step_dir / "weights").mkdir(parents=True)


@pytest.mark.parametrize(
    "damage", [_damage_truncate, _damage_arrays, _damage_extra, _damage_foreign]
)
def test_damaged_checkpoint_gives_one_line_that_names_it(tmp_path, damage):
    many = {f"w{i}": _normal(i, (20, 10)) for i in range(20)}
    with Checkpointer(str(tmp_path)) as checkpointer:
        checkpointer.save(4, many, {})
    damage(tmp_path / "checkpoints" / "4")
    with (
        Checkpointer(str(tmp_path)) as checkpointer,
        pytest.raises(CheckpointError, match=r"checkpoints/4 cannot be restored") as caught,
    ):
        checkpointer.restore_latest(many)
    assert "\n" not in str(caught.value)


def test_checkpoint_of_another_model_is_refused(tmp_path):
    with Checkpointer(str(tmp_path)) as checkpointer:
        checkpointer.save(4, _state(), {})
    others = {
        r"params\.w has shape \(16, 8\), where \(16, 4\) is needed": _state(shape=(16, 4)),
        r"it has no .*\.v": create_state({"v": jnp.ones(2)}, OPTIMIZER, jax.random.key(0)),
    }
    for message, other in others.items():
        with Checkpointer(str(tmp_path)) as checkpointer:
            with pytest.raises(CheckpointError, match=message) as caught:
                checkpointer.restore_latest(other)
            assert "of another model" in str(caught.value)


def test_run_dir_that_is_a_file_gives_one_line(tmp_path):
    (tmp_path / "run").write_text("not a directory")
    with pytest.raises(CheckpointError, match="cannot keep checkpoints in"):
        Checkpointer(str(tmp_path / "run"))


def test_full_disk_gives_one_line_and_the_last_good_checkpoint_survives(tmp_path):
    """In a process of its own, whose files may not grow beyond 64 KiB after the first save."""
    program = textwrap.dedent(
        """
        import logging, resource, sys
        import jax, jax.numpy as jnp
        from mdx.errors import CheckpointError
        from trainers.checkpoint import Checkpointer

        logging.getLogger("absl").setLevel(logging.CRITICAL)
        run_dir, state = sys.argv[1], {"w": jax.random.normal(jax.random.key(0), (512, 512))}
        with Checkpointer(run_dir, keep=1) as checkpointer:
            checkpointer.save(1, state, {"step": 1})
            checkpointer.wait()
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
            try:
                checkpointer.save(2, state, {"step": 2})
                checkpointer.wait()
            except CheckpointError as error:
                print(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        with Checkpointer(run_dir, keep=1) as checkpointer:
            restored, extra = checkpointer.restore_latest(state)
            print(extra["step"], bool((restored["w"] == state["w"]).all()))
        """
    )
    run_dir = str(tmp_path / "run")
    done = subprocess.run(
        [sys.executable, "-c", program, run_dir], capture_output=True, text=True, check=True
    )
    line, after = done.stdout.splitlines()
    assert "cannot write a checkpoint" in line
    assert "that of step 1 is kept" in line
    assert after == "1 True"
    assert os.listdir(f"{run_dir}/checkpoints") == ["1"]


@pytest.mark.parametrize("field", ["save_every", "keep"])
def test_impossible_cadence_is_refused(field):
    with pytest.raises(ConfigError, match=field):
        CheckpointConfig(**{field: -1})


def test_steps_are_due_at_multiples_and_never_with_zero():
    due = [step for step in range(1, 10) if CheckpointConfig(save_every=3).is_due(step)]
    assert due == [3, 6, 9]
    assert not any(CheckpointConfig(save_every=0).is_due(step) for step in range(1, 10))
