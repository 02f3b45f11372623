"""config.json of a Hugging Face directory, strictly: what MDX does not know is an error.

A field that MDX does not know, or knows to change the mathematics in a way MDX does not compute, is
refused by name. Rotary positions are read in both spellings: `rope_parameters` as transformers 5
writes it, and `rope_theta` with `rope_scaling` as it was before.
"""

import dataclasses
import json
from typing import Any

from etils import epath

from mdx.errors import ConfigError, UsageError
from mdx.model.config import ModelConfig
from mdx.model.rope import FIELDS, REQUIRED, RopeScaling

# Fields that must have these values, for MDX computes nothing else.
FIXED_FIELDS: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_act": "silu",
    "attention_bias": False,
    "use_sliding_window": False,
}
# Fields that do not change what the weights compute without dropout.
HARMLESS_FIELDS = {
    *("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "return_dict"),
    *("attention_dropout", "chunk_size_feed_forward", "max_window_layers", "sliding_window"),
    *("id2label", "label2id", "is_encoder_decoder", "problem_type"),
    *("output_attentions", "output_hidden_states"),
}
OPTIONAL_FIELDS = {"initializer_range", "tie_word_embeddings", "rope_scaling"}


def read_config(directory: str) -> ModelConfig:
    """Return the ModelConfig that `directory`/config.json describes.

    Raises UsageError where the file is missing, lacks a field or has one that MDX must not ignore.
    """
    path = epath.Path(directory) / "config.json"
    if not path.exists():
        raise UsageError(f"a model directory needs a config.json, but {path} does not exist")
    try:
        fields: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise UsageError(f"{path} must be JSON: {error}") from error
    wrong = [
        f"{name} = {fields[name]!r} (MDX computes {value!r})"
        for name, value in FIXED_FIELDS.items()
        if fields.get(name, value) != value
    ]
    wrong += _take_rope(fields)
    if set(fields.pop("layer_types", None) or ()) - {"full_attention"}:
        wrong.append("layer_types (MDX computes 'full_attention')")
    names = {field.name for field in dataclasses.fields(ModelConfig)}
    wrong += sorted(set(fields) - names - HARMLESS_FIELDS - set(FIXED_FIELDS))
    if wrong:
        raise UsageError(f"{path} asks for what MDX does not compute: {'; '.join(wrong)}")
    missing = [name for name in names - OPTIONAL_FIELDS if fields.get(name) is None]
    if missing:
        raise UsageError(f"{path} lacks {', '.join(sorted(missing))}")
    fields.setdefault("tie_word_embeddings", False)  # transformers' default, not ours
    return ModelConfig(**{name: fields[name] for name in names if name in fields})


def to_json(config: ModelConfig, dtype: str) -> dict[str, Any]:
    """Return the contents of config.json for weights of `dtype`."""
    fields = dataclasses.asdict(config)
    del fields["rope_scaling"]
    scaling = config.rope_scaling.to_json(config.max_position_embeddings)
    return {
        "architectures": ["Qwen3ForCausalLM"],
        **FIXED_FIELDS,
        **fields,
        "rope_parameters": {"rope_theta": config.rope_theta, **scaling},
        "attention_dropout": 0.0,
        "torch_dtype": dtype,
        "use_cache": True,
    }


def _take_rope(fields: dict[str, Any]) -> list[str]:
    """Put rope_theta and rope_scaling into `fields`, out of either spelling; return what is wrong.

    Both spellings at once are fine where they agree: transformers' own files have had both.
    """
    new, old = fields.pop("rope_parameters", None), fields.pop("rope_scaling", None)
    name = "rope_parameters" if new else "rope_scaling"
    rope = dict(new or old or {})
    if new and old and {**old, "rope_theta": 0} != {**new, "rope_theta": 0}:
        return [f"rope_scaling = {old!r} beside rope_parameters = {new!r} (they must agree)"]
    theta = rope.pop("rope_theta", None)
    if None not in (theta, fields.get("rope_theta")) and theta != fields["rope_theta"]:
        return [f"rope_theta = {fields['rope_theta']!r} beside {theta!r} (they must agree)"]
    if theta is not None:
        fields["rope_theta"] = theta
    kind = rope.pop("rope_type", rope.pop("type", "default"))
    rope.pop("type", None)
    given = {key: value for key, value in rope.items() if value is not None}
    known = FIELDS.get(kind)
    if known is None or set(given) - set(known):
        kinds = ", ".join(FIELDS)
        return [f"{name} = {dict(new or old)!r} (MDX computes {kinds}, with their own fields)"]
    if lacking := [key for key in known if key in REQUIRED and key not in given]:
        return [f"{name} of type {kind!r} without {', '.join(lacking)}"]
    try:
        fields["rope_scaling"] = RopeScaling(rope_type=kind, **given)
    except (ConfigError, TypeError) as error:
        return [str(error)]
    return []
