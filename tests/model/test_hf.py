"""Hugging Face directories: transformers reads ours, we read theirs, no bit is lost."""

import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3ForCausalLM

from mdx.errors import UsageError
from mdx.model.config import ModelConfig
from mdx.model.decoder import abstract_params
from mdx.model.hf import load_hf, save_hf
from mdx.model.hf_config import read_config
from mdx.model.sampler import sample
from mdx.model.sharding import MeshConfig, make_mesh, tree_shardings


def assert_same_bits(left, right):
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b, strict=True), left, right)


@pytest.fixture
def exported(tiny_model, tmp_path):
    config, _, params = tiny_model
    save_hf(params, config, None, str(tmp_path))
    return tmp_path


def edit_config(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("tied", [True, False])
def test_round_trips_are_equal_to_the_bit(model_factory, tmp_path, tied):
    config, graphdef, params = model_factory(tie_word_embeddings=tied)
    save_hf(params, config, None, str(tmp_path / "ours"))
    found = load_hf(str(tmp_path / "ours"))
    assert found[:2] == (config, graphdef)
    assert_same_bits(found[2], params)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=torch.float32)
    assert isinstance(theirs, Qwen3ForCausalLM)
    theirs.save_pretrained(tmp_path / "theirs")
    found_config, _, found = load_hf(str(tmp_path / "theirs"))
    assert found_config == config
    assert_same_bits(found, params)


def test_transformers_continues_an_export_greedily_token_for_token(tiny_model, exported):
    _, graphdef, params = tiny_model
    prompt = [3, 14, 15, 9]
    theirs = AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32).generate(
        torch.tensor([prompt]), max_new_tokens=24, do_sample=False, pad_token_id=0
    )
    settings = {"num_samples": 1, "max_new_tokens": 24, "eos_ids": (), "temperature": 0.0}
    ((ours,),) = sample(graphdef, params, [prompt], key=jax.random.key(0), **settings)
    assert list(ours.tokens) == theirs[0, len(prompt) :].tolist()
    assert len(set(ours.tokens)) > 3


def test_bfloat16_shards_are_read_as_float32(tiny_model, exported, tmp_path):
    _, _, params = tiny_model
    theirs = AutoModelForCausalLM.from_pretrained(exported, dtype=torch.bfloat16)
    theirs.save_pretrained(tmp_path / "half", max_shard_size="10KB")
    assert len(list((tmp_path / "half").glob("model-*.safetensors"))) > 1
    _, _, found = load_hf(str(tmp_path / "half"))
    expected = jax.tree.map(lambda x: x.astype("bfloat16").astype("float32"), params)
    assert_same_bits(found, expected)


def test_large_models_are_written_in_shards_and_leave_no_file_of_an_older_export(
    tiny_model, exported
):
    config, _, params = tiny_model
    save_hf(params, config, None, str(exported), max_shard_bytes=10_000)
    files = list(exported.glob("model-*.safetensors"))
    assert len(files) > 1
    assert not (exported / "model.safetensors").exists()
    assert max(file.stat().st_size for file in files) < 12_000
    assert_same_bits(load_hf(str(exported))[2], params)
    theirs = AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32)
    np.testing.assert_array_equal(theirs.model.norm.weight.detach(), params["norm"])
    save_hf(params, config, None, str(exported))
    assert [file.name for file in exported.glob("model*")] == ["model.safetensors"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_exports_may_be_of_half_the_size(tiny_model, tmp_path, dtype):
    config, _, params = tiny_model
    save_hf(params, config, None, str(tmp_path), dtype=dtype)
    expected = jax.tree.map(lambda x: x.astype(dtype).astype("float32"), params)
    assert_same_bits(load_hf(str(tmp_path))[2], expected)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert str(theirs.dtype) == f"torch.{dtype}"
    half = load_hf(str(tmp_path), dtype="bfloat16")[2]
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype("bfloat16")}


def test_weights_are_read_into_and_written_from_a_mesh(model_factory, tmp_path):
    config, _, params = model_factory(
        num_key_value_heads=2, num_attention_heads=6, tie_word_embeddings=False, vocab_size=62
    )
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    save_hf(params, config, None, str(tmp_path / "one"))
    found = load_hf(str(tmp_path / "one"), mesh=mesh)[2]
    assert_same_bits(found, params)
    assert jax.tree.map(lambda x: x.sharding, found) == tree_shardings(params, mesh)
    save_hf(found, config, None, str(tmp_path / "eight"))
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "eight" / name).read_bytes()


MEASURE = """
import resource, sys
import jax
from mdx.model.hf import load_hf, save_hf
from mdx.model.sharding import MeshConfig, make_mesh
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
mesh = make_mesh(MeshConfig())
jax.block_until_ready(jax.numpy.zeros(8) + 1)
before = peak()
config, _, params = load_hf(sys.argv[1], mesh=mesh, dtype="bfloat16")
jax.block_until_ready(params)
loaded = peak()
save_hf(params, config, None, sys.argv[2], dtype="bfloat16", max_shard_bytes=60 << 20)
print(before, loaded, peak())
"""


def test_a_host_holds_its_weights_and_one_part_more_while_it_reads_and_writes(tmp_path):
    """Devices are memory of the host here, so the weights themselves count."""
    config = ModelConfig(
        vocab_size=32_000,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=8,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=64,
    )
    params = jax.tree.map(
        lambda leaf: np.full(leaf.shape, 0.5, jnp.bfloat16), abstract_params(config)
    )
    source, copy = str(tmp_path / "source"), str(tmp_path / "copy")
    save_hf(params, config, None, source, dtype="bfloat16", max_shard_bytes=60 << 20)
    files = sorted((tmp_path / "source").glob("*.safetensors"))
    assert len(files) > 4
    model_mib = sum(file.stat().st_size for file in files) / 2**20
    assert model_mib > 300
    output = subprocess.check_output([sys.executable, "-c", MEASURE, source, copy], text=True)
    before, loaded, written = map(float, output.split())
    part_mib = 8 * 1024 * 4096 * 2 / 8 / 2**20  # an eighth of all layers' gate_proj
    tensor_mib = 32_000 * 1024 * 2 / 2**20  # the largest of a file
    assert loaded - before < model_mib + part_mib + tensor_mib + 40
    assert written - before < model_mib + 2 * tensor_mib + 40
    for file in files:
        assert (tmp_path / "copy" / file.name).read_bytes() == file.read_bytes()


def test_tokenizer_files_travel_and_name_the_special_tokens(tiny_model, tmp_path):
    config, _, params = tiny_model
    source, out = tmp_path / "tokenizer", tmp_path / "out"
    source.mkdir()
    tokenizer = {"model": {"vocab": {"a": 5}}, "added_tokens": [{"content": "<end>", "id": 9}]}
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    settings = {"eos_token": {"content": "<end>"}, "pad_token": "a"}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    (source / "chat_template.jinja").write_text("{{ messages }}")
    save_hf(params, config, str(source), str(out))
    for name in ("config.json", "generation_config.json"):
        written = json.loads((out / name).read_text())
        assert (written["eos_token_id"], written["pad_token_id"]) == (9, 5)
    assert (out / "chat_template.jinja").read_text() == "{{ messages }}"
    save_hf(params, config, str(out), str(out))  # in place: sources are kept
    assert (out / "tokenizer.json").exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"attention_bias": True}, "attention_bias = True"),
        ({"use_sliding_window": True}, "use_sliding_window"),
        ({"layer_types": ["sliding_attention", "full_attention"]}, "layer_types"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
        ({"model_type": "llama"}, "model_type = 'llama'"),
        ({"num_experts": 8}, "num_experts"),
    ],
)
def test_fields_that_change_the_mathematics_are_refused(exported, fields, said):
    edit_config(exported, **fields)
    with pytest.raises(UsageError, match=f"asks for what MDX does not compute: .*{said}"):
        read_config(str(exported))


def test_old_spelling_of_rope_theta_is_read(tiny_model, exported):
    path = exported / "config.json"
    fields = json.loads(path.read_text())
    del fields["rope_parameters"]
    path.write_text(json.dumps(fields | {"rope_theta": 123.0}))
    assert read_config(str(exported)).rope_theta == 123.0


def test_missing_fields_files_and_tensors_are_named(tiny_model, exported, tmp_path):
    with pytest.raises(UsageError, match=r"needs a config.json"):
        load_hf(str(tmp_path / "nowhere"))
    edit_config(exported, num_hidden_layers=3)
    with pytest.raises(UsageError, match=r"lack model\.layers\.2\."):
        load_hf(str(exported))
    edit_config(exported, num_hidden_layers=1)
    with pytest.raises(UsageError, match=r"tensors that a Qwen3 model has not: model\.layers\.1"):
        load_hf(str(exported))
    edit_config(exported, num_hidden_layers=2, intermediate_size=41)
    with pytest.raises(UsageError, match=r"down_proj.weight must have shape \(24, 41\)"):
        load_hf(str(exported))
    edit_config(exported, head_dim=None)
    with pytest.raises(UsageError, match="lacks head_dim"):
        load_hf(str(exported))


def test_an_interrupted_export_has_no_config(tiny_model, exported):
    config, _, params = tiny_model
    broken = {**params, "norm": None}
    with pytest.raises(AttributeError):
        save_hf(broken, config, None, str(exported))
    with pytest.raises(UsageError, match=r"needs a config.json"):
        load_hf(str(exported))


def test_damaged_files_are_named(tiny_model, exported):
    weights = exported / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-5])
    with pytest.raises(UsageError, match=r"model\.safetensors should have \d+ bytes, not"):
        load_hf(str(exported))
    weights.write_bytes(b"<html>" + whole)
    with pytest.raises(UsageError, match="is no whole safetensors file"):
        load_hf(str(exported))
    (exported / "config.json").write_text("{")
    with pytest.raises(UsageError, match="must be JSON"):
        load_hf(str(exported))
