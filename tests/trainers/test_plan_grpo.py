"""`mdx-train plan` for GRPO: the step that training would take, and a search that compiles it."""

import json

import jax
import pytest
from click.testing import CliRunner

from mdx.config import dump_config
from mdx.model.config import ComputeConfig, ModelConfig
from mdx.model.decoder import init
from mdx.model.hf_config import to_json
from mdx.model.sharding import make_mesh, shard_batch, shard_params
from trainers.cli import main
from trainers.grpo import update_shape
from trainers.grpo_config import GrpoConfig
from trainers.optim import make_optimizer
from trainers.packing import Segment, pack
from trainers.plan import COMPILED, ESTIMATED, PlanConfig, on_hardware
from trainers.plan_step import planned_step
from trainers.plan_topology import parse_topology, tpu_devices
from trainers.policy_loss import PolicyLossConfig
from trainers.policy_update import UpdateConfig
from trainers.recycle import RecycleConfig
from trainers.rollouts import RolloutConfig
from trainers.state import create_state

from .test_plan import KEYS, TARGET

MODEL = ModelConfig(
    vocab_size=1024,
    hidden_size=128,
    intermediate_size=256,
    num_hidden_layers=2,
    num_attention_heads=1,
    num_key_value_heads=1,
    head_dim=128,
)
CONFIG = GrpoConfig(
    init_from="",
    compute=ComputeConfig(dtype="bfloat16", scan_layers=True, vocab_block=128),
    rollout=RolloutConfig(num_prompts=4, group_size=4, max_prompt_tokens=64, max_new_tokens=64),
    update=UpdateConfig(seq_len=256, microbatch_rows=8, loss=PolicyLossConfig(kl_coef=0.01)),
    recycle=RecycleConfig(replay_per_step=0),
)
NUM_ROWS = 2 * 4 * 4 // 2  # a refill doubles the prompts; two segments fit into a row
FIELD_BYTES = NUM_ROWS // 4 * 256 * 4  # of one field of the batch on one of four devices


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Return the path of the configuration, with the model's shape beside it."""
    folder = tmp_path_factory.mktemp("plan")
    (folder / "config.json").write_text(json.dumps(to_json(MODEL, "float32")))
    (folder / "grpo.yaml").write_text(dump_config(CONFIG))
    return str(folder / "grpo.yaml")


def report(file, *arguments):
    """Return what `mdx-train plan --json` prints, which must be one object and nothing else."""
    command = ["plan", "--config", file, "--topology", TARGET.name, "--json", *arguments]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def searched(file):
    """Return the report of a search that compiles one set-up: all compilation of this file."""
    return report(file, "--search", "--max-compiles", "1")


def test_prompts_are_repeated_on_a_tpu_and_shared_elsewhere():
    on_tpu = planned_step(CONFIG, MODEL, tpu_devices(TARGET))
    assert on_tpu.compute.attention == "splash"
    assert on_tpu.batch.branches is None
    wanted = PlanConfig(stage="grpo", config=CONFIG, model=MODEL)
    for_gpus, gpus = on_hardware(wanted, parse_topology("h200:4"))
    for config, devices in ((CONFIG, jax.devices()[:4]), (for_gpus.config, gpus)):
        step = planned_step(config, MODEL, devices)
        assert step.batch.branches.shape == on_tpu.batch.tokens.shape == (NUM_ROWS, 256)
        assert step.batch.branches.dtype == "int32"
        assert step.argument_bytes - on_tpu.argument_bytes == FIELD_BYTES


def test_the_planned_arguments_are_those_of_training_byte_for_byte():
    devices = jax.devices()[:4]
    step = planned_step(CONFIG, MODEL, devices)
    mesh = make_mesh(CONFIG.mesh, devices)
    params = shard_params(init(MODEL, key=jax.random.key(0))[1], mesh)
    state = create_state(params, make_optimizer(CONFIG.optim), jax.random.key(0))
    shape = update_shape(CONFIG, mesh, attention=step.compute.attention)
    segment = Segment(prompt=(1, 2), completion=(3,), old_logprobs=(-1.0,), advantage=1.0)
    batch = shard_batch(pack([segment], shape, pad_id=0)[0], mesh)
    real, planned = (jax.tree.flatten(tree) for tree in ((state, batch), (step.state, step.batch)))
    assert real[1] == planned[1]
    for array, abstract in zip(real[0], planned[0], strict=True):
        assert (array.shape, array.dtype) == (abstract.shape, abstract.dtype)
        assert array.sharding.is_equivalent_to(abstract.sharding, array.ndim)
    on_one = [array.addressable_shards[0].data for array in real[0]]
    assert step.argument_bytes == sum(map(num_bytes, on_one))


def num_bytes(array):
    is_key = jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key)
    return (jax.random.key_data(array) if is_key else array).nbytes


def test_the_compiler_counts_the_arguments_that_we_count(searched):
    """To the byte: it gives 512 to each of three scalars, two of which have 4 and the key 8."""
    padding = 3 * 512 - (4 + 4 + 8)
    assert searched["compiled_argument_bytes"] == searched["argument_bytes"] + padding


def test_the_command_prints_one_object_whose_first_keys_are_these(file, searched):
    estimated = report(file, "--estimate")
    for found, method in ((searched, COMPILED), (estimated, ESTIMATED)):
        assert list(found)[: len(KEYS)] == KEYS
        assert found["method"] == method
        assert (found["compile_s"] > 0) == bool(found["collectives"]) == (method == COMPILED)
        assert found["hbm_limit_bytes"] == TARGET.chip.hbm_bytes
        assert found["projected_mfu"] == pytest.approx(
            found["model_flops"] / (4 * TARGET.chip.peak_flops * found["projected_step_s"])
        )
    assert list(searched) == [*estimated, "overrides"]


def test_a_search_names_a_set_up_that_the_compiler_lets_fit(file, searched):
    assert searched["fits"] is True
    assert searched["hbm_bytes_per_chip"] <= searched["hbm_limit_bytes"]
    again = report(file, "--estimate", *searched["overrides"])
    for name in ("mesh", "remat", "num_microbatches", "argument_bytes", "estimated_bytes"):
        assert again[name] == searched[name], "what is named is what was compiled"
