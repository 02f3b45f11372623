"""google-tunix's SFT step compiled ahead of time for a TPU, for `benchmarks.plan_peers`.

    python -m benchmarks.peer_tunix_plan '{"topology": "v5p:4x4x4", ...}' FOLDER

Runs in tunix's environment, with libtpu. It is `PeftTrainer`'s own step on tunix's own Qwen3 and
its sharding, on shapes alone: nothing is allocated. The settings are those of tunix's tuned
examples (bfloat16 activations, splash attention, each decoder layer recomputed), the optimizer is
that of MDX. Leaves the scheduled program in FOLDER/step.hlo and memory and seconds in
FOLDER/facts.json.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.experimental import mesh_utils
from jax.interpreters import pxla
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tunix.models.qwen3 import model as qwen3
from tunix.sft import peft_trainer

from benchmarks.peer_tunix import model_input
from trainers.plan_topology import parse_topology, tpu_devices


def main() -> None:
    """Compile once and write down what came of it."""
    settings, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
    devices = tpu_devices(parse_topology(settings["topology"]))
    grid = mesh_utils.create_device_mesh((len(devices), 1), devices)
    with Mesh(grid, ("fsdp", "tp")) as mesh:
        lowered = lower(mesh, settings)
        started, cpu = time.perf_counter(), time.process_time()
        program = lowered.compile(compiler_options=settings["options"])
    facts = {
        "compile_s": time.perf_counter() - started,
        "compile_cpu_s": time.process_time() - cpu,
    }
    memory: Any = program.memory_analysis()
    written = memory.output_size_in_bytes - memory.alias_size_in_bytes
    taken = memory.argument_size_in_bytes + memory.temp_size_in_bytes + written
    facts |= {"hbm_bytes_per_chip": taken, "live_bytes": memory.peak_memory_in_bytes}
    (folder / "step.hlo").write_text(program.as_text())
    (folder / "facts.json").write_text(json.dumps(facts))


def lower(mesh: Mesh, settings: dict[str, Any]) -> jax.stages.Lowered:
    """Return the step of `PeftTrainer.jit_train_and_eval_step`, its state donated as there."""
    qwen3.shard = _constrained  # tunix asks which devices this machine has, and would drop it
    config = _config(settings)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-5, weight_decay=0.1))
    trainer = SimpleNamespace(
        gen_model_input_fn=model_input,
        loss_fn=peft_trainer._default_loss_fn,
        _lora_enabled=False,
        _has_aux=False,
    )

    def made() -> tuple[nnx.Module, nnx.Optimizer[Any]]:
        model = qwen3.Qwen3(config, rngs=nnx.Rngs(0))
        return model, nnx.Optimizer(model, optimizer, wrt=nnx.Param)

    abstract = nnx.eval_shape(made)
    graph, state = nnx.split(abstract[0])
    optimizer_graph, optimizer_state = nnx.split(abstract[1])

    def step(optimizer_state: Any, state: Any, batch: peft_trainer.TrainingInput) -> Any:
        model = nnx.merge(graph, state)
        updater = nnx.merge(optimizer_graph, optimizer_state)
        out = peft_trainer.PeftTrainer._train_step(trainer, model, updater, batch)
        return out, nnx.state(model), nnx.state(updater)

    rows = NamedSharding(mesh, PartitionSpec("fsdp"))
    shape = (settings["rows"], settings["seq_len"])
    batch = peft_trainer.TrainingInput(
        input_tokens=jax.ShapeDtypeStruct(shape, jnp.int32, sharding=rows),
        input_mask=jax.ShapeDtypeStruct(shape, jnp.bool, sharding=rows),
    )
    states = _placed(optimizer_state, mesh), _placed(state, mesh)
    placed = jax.tree.map(lambda leaf: leaf.sharding, states)
    return jax.jit(step, donate_argnums=0, out_shardings=(None, placed[1], placed[0])).lower(
        *states, batch
    )


def _placed(state: Any, mesh: Mesh) -> Any:
    """Return a state's shapes with the shardings that tunix names."""
    specs = nnx.get_partition_spec(state)

    def place(leaf: Any, spec: Any) -> jax.ShapeDtypeStruct:
        spec = spec if isinstance(spec, PartitionSpec) and leaf.ndim else PartitionSpec()
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(place, state, specs)


def _constrained(x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
    mesh = pxla.thread_resources.env.physical_mesh
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec(*axes)))


def _config(settings: dict[str, Any]) -> qwen3.ModelConfig:
    shape = settings["model"]
    return qwen3.ModelConfig(
        num_layers=shape["num_hidden_layers"],
        vocab_size=shape["vocab_size"],
        embed_dim=shape["hidden_size"],
        hidden_dim=shape["intermediate_size"],
        num_heads=shape["num_attention_heads"],
        head_dim=shape["head_dim"],
        num_kv_heads=shape["num_key_value_heads"],
        rope_theta=int(shape["rope_theta"]),
        norm_eps=shape["rms_norm_eps"],
        use_tied_embedding=shape["tie_word_embeddings"],
        remat_config=qwen3.RematConfig.DECODER,
        dtype=jnp.bfloat16,
        use_flash_attention=True,
    )


if __name__ == "__main__":
    main()
