"""Every YAML file of configs/ that a stage runs is one that the stage accepts, on all hardware."""

from pathlib import Path

import pytest

from mdx.config import load_config
from trainers.plan import KINDS, load_plan_config

SIZES = sorted(file.parent for file in Path("configs").glob("qwen3_*/sft.yaml"))
STAGES = ("cpt", "sft", "sft_lora", "grpo", "grpo_lora")
HARDWARE = ("v5e", "v5p", "v6e", "h200")


def test_every_size_has_every_stage_and_hardware():
    assert [size.name.removeprefix("qwen3_") for size in SIZES] == ["0.6b", "32b", "4b", "8b"]
    for size in SIZES:
        assert {file.stem for file in size.glob("*.yaml")} == {*STAGES, *HARDWARE}


@pytest.mark.parametrize("hardware", HARDWARE)
def test_every_combination_loads_and_the_last_file_wins(hardware):
    for size in SIZES:
        for stage in STAGES:
            files = (str(size / f"{stage}.yaml"), str(size / f"{hardware}.yaml"))
            alone, together = (
                load_plan_config(None, files[:1], ()),
                load_plan_config(None, files, ()),
            )
            assert alone.compute.remat == "full"
            assert f"remat: {together.compute.remat}" in Path(files[1]).read_text()
            assert (together.config.lora.rank > 0) == stage.endswith("_lora")


def test_the_tiny_stages_load():
    for stage, kind in KINDS.items():
        assert load_config(kind, f"configs/tiny/{stage}.yaml").run_dir == f"runs/tiny/{stage}"
