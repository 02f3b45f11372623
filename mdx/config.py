"""Configuration: dataclass defaults <- sparse YAML <- `key=value` overrides.

`load_config(SftConfig, "configs/tiny/sft.yaml", ("optim.peak_lr=1e-3",))` returns a plain
`SftConfig`. Every failure is one `ConfigError` line that names the dotted key. Dictionaries
merge; lists replace. Locations are `str` and are opened with `etils.epath`, since a `Path` field
would break `gs://`. Derived values are properties of the dataclass, not fields.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, cast

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mdx.errors import ConfigError

T = TypeVar("T")


def load_config(
    kind: type[T], paths: str | Sequence[str] | None = None, overrides: Sequence[str] = ()
) -> T:
    """Merge the defaults of the dataclass `kind`, YAML files in order, and `key=value` overrides.

    Raises ConfigError for an unreadable file, an unknown key, a value of the wrong type or a
    missing value.
    """
    config = OmegaConf.structured(kind)
    OmegaConf.set_readonly(config, False)
    try:
        for path in [paths] if isinstance(paths, str) else paths or ():
            config = OmegaConf.merge(config, _read_yaml(path))
        config = OmegaConf.merge(config, OmegaConf.from_dotlist(_checked(overrides)))
        return cast(T, OmegaConf.to_object(config))
    except OmegaConfBaseException as error:
        raise ConfigError(_explain(error, kind)) from error
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise ConfigError(" ".join(str(error).split())) from error


def dump_config(config: object) -> str:
    """Return `config` as YAML that `load_config` accepts."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def _read_yaml(path: str) -> object:
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"--config needs a YAML file, but {path} is none")
    try:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first_line = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid YAML: {first_line}") from error
    if not isinstance(loaded, dict | None):
        raise ConfigError(f"{path} must hold `key: value` lines, not a {type(loaded).__name__}")
    return OmegaConf.create(loaded or {})


def _checked(overrides: Sequence[str]) -> list[str]:
    for override in overrides:
        if "=" not in override:
            raise ConfigError(f"an override must read key=value, not {override!r}")
    # `key=` means the empty text, as in a shell; YAML would read a null, which is `key=null`
    return [f"{text}''" if text.endswith("=") else text for text in overrides]


def _explain(error: OmegaConfBaseException, kind: type) -> str:
    key = error.full_key or (str(error.key) if error.key is not None else "")
    reason = str(error.msg or error).splitlines()[0]
    known = _dotted_keys(OmegaConf.structured(kind))
    if key and key not in known and not any(name.startswith(f"{key}.") for name in known):
        close = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        hint = f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(known)}"
        return f"unknown configuration key {key!r}{hint}"
    return f"configuration key {key!r}: {reason}"


def _dotted_keys(node: object, prefix: str = "") -> list[str]:
    if not OmegaConf.is_dict(node):
        return [prefix.rstrip(".")]
    keys = []
    for name in node:  # type: ignore[attr-defined]
        missing = OmegaConf.is_missing(node, name)
        child = None if missing else node[name]  # type: ignore[index]
        keys += (
            _dotted_keys(child, f"{prefix}{name}.")
            if OmegaConf.is_dict(child)
            else [f"{prefix}{name}"]
        )
    return keys
