"""`mdx-train`: configuration, its errors, and what the command line itself promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from mdx.config import dump_config, load_config
from mdx.corpus.config import CorpusConfig
from mdx.errors import ConfigError
from trainers.cpt import CptConfig
from trainers.data_cli import main as data_main
from trainers.sft import SftConfig

CONFIGS = Path(__file__).parents[2] / "configs"
KINDS = {"cpt": CptConfig, "sft": SftConfig}


def _mdx_train(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trainers.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_does_not_import_jax():
    program = (
        "import sys\nfrom trainers.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(any(name.partition('.')[0] in ('jax', 'flax', 'orbax') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("cpt", "sft", "grpo", "export", "quickstart"):
        assert f"\n  {command} " in done.stdout


def test_printed_config_is_a_config_that_prints_the_same(tmp_path):
    first = _mdx_train(
        "cpt",
        "--config",
        str(CONFIGS / "tiny" / "cpt.yaml"),
        "--print-config",
        "optim.peak_lr=7e-4",
    )
    assert first.returncode == 0, first.stderr
    (tmp_path / "printed.yaml").write_text(first.stdout)
    config = load_config(CptConfig, str(tmp_path / "printed.yaml"))
    assert config.optim.peak_lr == 7e-4
    assert dump_config(config) == first.stdout


def test_printed_build_shows_the_corpus_that_joins_it():
    corpus = str(CONFIGS / "corpus.yaml")
    arguments = ["build", "--print-config", "--corpus", corpus, "corpus.root=/some/where", "seed=7"]
    done = CliRunner().invoke(data_main, arguments)
    assert done.exit_code == 0, done.output
    printed = yaml.safe_load(done.output)
    assert printed["seed"] == 7
    assert printed["corpus"]["root"] == "/some/where"
    assert len(printed["corpus"]["sources"]) == len(load_config(CorpusConfig, corpus).sources)


@pytest.mark.parametrize("stage", KINDS)
def test_shipped_yaml_loads_and_is_sparse(stage):
    path = CONFIGS / "tiny" / f"{stage}.yaml"
    config = load_config(KINDS[stage], str(path))
    assert config != KINDS[stage]()
    defaults = _flat(yaml.safe_load(dump_config(KINDS[stage]())))
    for key, value in _flat(yaml.safe_load(path.read_text())).items():
        assert key in defaults
        assert config.run_dir.startswith("runs/tiny/"), value


def test_stages_of_the_tiny_configuration_follow_each_other():
    cpt = load_config(CptConfig, str(CONFIGS / "tiny" / "cpt.yaml"))
    sft = load_config(SftConfig, str(CONFIGS / "tiny" / "sft.yaml"))
    assert sft.init_from == f"{cpt.run_dir}/export"
    assert sft.data.data_dir == cpt.data.data_dir


def _flat(node, prefix=""):
    if not isinstance(node, dict):
        return {prefix: node}
    return {
        key: value
        for name, child in node.items()
        for key, value in _flat(child, f"{prefix}.{name}" if prefix else name).items()
    }


@pytest.mark.parametrize(
    ("kind", "override", "line"),
    [
        (CptConfig, "optim.peak=1", "unknown configuration key 'optim.peak'; did you mean"),
        (SftConfig, "qa_shar=0.5", "did you mean 'qa_share'?"),
        (CptConfig, "optim.num_steps=many", "configuration key 'optim.num_steps'"),
        (CptConfig, "optim.num_steps=0", "optim.num_steps must be 1 or more"),
        (CptConfig, "data.microbatch_size=7", "data.microbatch_size must divide"),
        (CptConfig, "peak_lr", "an override must read key=value, not 'peak_lr'"),
    ],
)
def test_wrong_override_is_named(kind, override, line):
    with pytest.raises(ConfigError) as caught:
        load_config(kind, None, [override])
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_usage_exits_2_with_one_line():
    done = _mdx_train("export", "--run-dir", "no/such/run", "--out", "x")
    assert done.returncode == 2
    assert done.stdout == ""
    missing = "no/such/run/config.yaml"
    assert done.stderr == (
        f"error: --run-dir must hold a run of mdx-train, but {missing} does not exist\n"
    )


def test_unwritable_cache_directory_exits_2_with_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    environment = {**os.environ, "MDX_CACHE_DIR": str(tmp_path / "file")}
    done = subprocess.run(
        [sys.executable, "-m", "trainers.cli", "cpt"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: MDX_CACHE_DIR must be a directory that can be written")


def test_large_pages_are_asked_for_once_and_a_choice_of_the_user_is_kept():
    program = (
        "import os, sys\nsys.argv[0] = 'mdx-train'\n"
        "from trainers.cli import _restart_with_huge_pages\n_restart_with_huge_pages()\n"
        "print(os.getpid(), os.environ['GLIBC_TUNABLES'])"
    )
    for given, expected in ((None, "glibc.malloc.hugetlb=1"), ("glibc.malloc.check=1",) * 2):
        environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
        if given:
            environment["GLIBC_TUNABLES"] = given
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
        )
        out, _ = process.communicate()
        assert out.split() == [str(process.pid), expected]
