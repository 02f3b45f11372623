"""Hugging Face directories: transformers reads ours, we read theirs, no bit is lost."""

import json

import jax
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3ForCausalLM

from mdx.errors import UsageError
from mdx.model import hf
from mdx.model.hf import load_hf, read_config, save_hf
from mdx.model.sampler import sample


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


def test_large_models_are_written_in_shards(tiny_model, tmp_path, monkeypatch):
    config, _, params = tiny_model
    monkeypatch.setattr(hf, "MAX_SHARD_BYTES", 10_000)
    save_hf(params, config, None, str(tmp_path))
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert_same_bits(load_hf(str(tmp_path))[2], params)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    np.testing.assert_array_equal(theirs.model.norm.weight.detach(), params["norm"])


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
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling"),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2}}, "linear"),
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


def test_an_interrupted_export_has_no_config(tiny_model, exported, monkeypatch):
    config, _, params = tiny_model

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(hf, "_write_tensors", stop)
    with pytest.raises(KeyboardInterrupt):
        save_hf(params, config, None, str(exported))
    with pytest.raises(UsageError, match=r"needs a config.json"):
        load_hf(str(exported))
