"""Hand-made trajectories with known outcomes, Lennard-Jones tasks, and a real farm to run them."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from mdx.lammps.run import Reward, RunResult, RunStatus, to_json
from mdx.tasks.task import Check, CheckKind, Task
from mdx.trajectory import Completion, StopReason, Trajectory
from rollout_farm.client import Farm

COMPLETION = Completion(tokens=(7,), logprobs=(-0.5,), text="", stop_reason=StopReason.EOS)


@pytest.fixture
def make_trajectory() -> Callable[..., Trajectory]:
    """Return the function that makes a trajectory."""
    return _make_trajectory


def _make_trajectory(
    task_id: str,
    total: float | None,
    *,
    index: int = 0,
    family: str = "nve",
    status: RunStatus = RunStatus.OK,
    completion: float = 1.0,
    flags: tuple[str, ...] = (),
    error: str | None = None,
) -> Trajectory:
    """Return a trajectory of reward `total`; None stands for one that infrastructure lost."""
    reward = None
    if total is not None:
        components = {"format": 1.0, "completion": completion, "quality": total}
        reward = Reward(total=total, components=components, flags=flags)
    return Trajectory(
        id=f"{task_id}/{index}",
        task=Task(id=task_id, family=family, prompt="Run argon."),
        prompt_tokens=(1, 2),
        completion=COMPLETION,
        script="run 1",
        result=None if reward is None else RunResult(status=status, error=error, reward=reward),
        reward=reward,
    )


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    """Return a real farm on this machine."""
    with Farm(num_slots=1) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def farm_address(farm: Farm) -> str:
    """Return where the shared farm's worker listens."""
    return farm.fleet.workers[0].address


@pytest.fixture(scope="session")
def lj_tasks() -> list[Task]:
    """Return three tasks that differ in the number of steps that they ask for."""
    return [_lj_task(num_steps) for num_steps in (10, 20, 30)]


@pytest.fixture(scope="session")
def data_dir(lj_tasks: list[Task], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a data folder whose MD-CodeGen holds the tasks as its test split."""
    from mdx.data.datasets import write_dataset

    folder = str(tmp_path_factory.mktemp("data"))
    records = [{"id": task.id, "task": to_json(task).decode(), "reward": 1.0} for task in lj_tasks]
    write_dataset("md_code_gen", folder, {"test": records})
    return folder


@pytest.fixture(scope="session")
def lj_script() -> Callable[[int], str]:
    """Return the function that gives the script that solves the task of so many steps."""
    return lambda num_steps: LJ_SCRIPT.format(num_steps=num_steps)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return the Hugging Face directories of two random models of one layer and one shape."""
    import jax

    from mdx.model.config import ModelConfig
    from mdx.model.decoder import abstract_params
    from mdx.model.hf import save_hf
    from mdx.tokenizer import SMALLEST_VOCABULARY, Tokenizer, train_tokenizer

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer_dir = str(folder / "tokenizer")
    train_tokenizer([LJ_SCRIPT] * 4, tokenizer_dir, SMALLEST_VOCABULARY)
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
    rng = np.random.default_rng(0)
    for name in ("first", "second"):
        shapes = abstract_params(config)
        params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype("float32"), shapes)
        save_hf(params, config, tokenizer_dir, str(folder / name))
    return str(folder / "first"), str(folder / "second")


@pytest.fixture(scope="session")
def tiny_model(tiny_models: tuple[str, str]) -> str:
    """Return the first of the two."""
    return tiny_models[0]


def _lj_task(num_steps: int) -> Task:
    checks = (
        Check(kind=CheckKind.UNITS, text="lj"),
        Check(kind=CheckKind.NUM_ATOMS, target=108, tolerance=0.0),
        Check(kind=CheckKind.ENSEMBLE, text="nve"),
        Check(kind=CheckKind.NUM_STEPS, target=num_steps),
        Check(kind=CheckKind.FINITE),
    )
    return Task(
        id=f"lj-{num_steps}",
        family="nve",
        prompt=f"Run 108 Lennard-Jones atoms for {num_steps} steps.",
        num_steps=num_steps,
        checks=checks,
    )


LJ_SCRIPT = """units lj
lattice fcc 0.8442
region box block 0 3 0 3 0 3
create_box 1 box
create_atoms 1 box
mass 1 1.0
velocity all create 1.44 87287
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0
fix 1 all nve
run {num_steps}
"""
