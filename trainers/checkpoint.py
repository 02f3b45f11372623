"""Checkpoints: a whole step or nothing, whatever kills the process.

Orbax writes the arrays (each process its shards) in the background into a temporary directory and
renames it when everything is on the disk; a step that is not renamed is not seen, and is swept
away at the next start. Beside the `TrainState` lies `extra`, one JSON value that all processes
agree on: the data iterator's state, and whatever else a stage must not forget. Both are one step,
so they cannot disagree. Neither knows of devices or processes: a checkpoint is restored onto any
mesh and any number of processes.

    <run_dir>/checkpoints/<step>/{state,extra}
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.args import CheckpointArgs, Composite, StandardRestore, StandardSave

from mdx.errors import CheckpointError, ConfigError
from trainers.state import PyTree, TrainState, abstract_state

Extra = dict[str, Any]  # JSON
CHECKPOINTS = "checkpoints"
_TEMPORARY = ".orbax-checkpoint-tmp"
_EXTRA = "extra.json"


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """How often a run is saved. Its last step always is."""

    save_every: int = 100  # steps; 0 saves the last one only
    keep: int = 2  # newest checkpoints that stay

    def __post_init__(self) -> None:
        if self.save_every < 0 or self.keep < 1:
            raise ConfigError(
                "checkpoint.save_every must be 0 or more and checkpoint.keep 1 or more, not "
                f"{self.save_every} and {self.keep}"
            )

    def is_due(self, step: int) -> bool:
        """Tell whether `step` is one to save."""
        return self.save_every > 0 and step % self.save_every == 0


class Checkpointer:
    """Saves and restores the states of one run. Saving returns before the disk is done.

    A failure of a save in the background is raised by the next call as CheckpointError.
    """

    def __init__(self, run_dir: str, *, keep: int = 2) -> None:
        self.directory = epath.Path(run_dir).absolute() / CHECKPOINTS
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, cleanup_tmp_directories=True, enable_async_checkpointing=True
        )
        try:
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        except Exception as error:
            raise CheckpointError(
                f"cannot keep checkpoints in {self.directory}: {_one_line(error)}"
            ) from error

    def __enter__(self) -> "Checkpointer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None:
            self.wait()
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """The newest whole step, or None."""
        return self._manager.latest_step()

    def save(self, step: int, state: TrainState, extra: Extra) -> None:
        """Begin to save `state` as `step`; a step that exists already is left alone.

        All processes must call it; the `extra` of process 0 is written.
        """
        if step == self.latest_step:
            return
        args = Composite(state=StandardSave(state), extra=_JsonSave(extra))
        try:
            self._manager.save(step, args=args)
        except Exception as error:
            raise self._failed_save(error) from error

    def wait(self) -> None:
        """Return when everything saved is on the disk."""
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._failed_save(error) from error

    def restore_latest(self, like: TrainState) -> tuple[TrainState, Extra] | None:
        """Return the newest state and its extra, placed as `like` is; None where there is none.

        Raises CheckpointError for a damaged checkpoint and for one of another model.
        """
        step = self.latest_step
        if step is None:
            return None
        args = Composite(state=StandardRestore(abstract_state(like)), extra=_JsonRestore())
        with _restoring(self.directory / str(step)) as path:
            _check_fits(path, like)
            restored = self._manager.restore(step, args=args)
        return restored.state, restored.extra

    def _failed_save(self, error: Exception) -> CheckpointError:
        """Sweep away what was half written, which also frees its disk space."""
        if jax.process_index() == 0:
            for leftover in self.directory.glob(f"*{_TEMPORARY}*"):
                leftover.rmtree(missing_ok=True)
        kept = max((int(p.name) for p in self.directory.iterdir() if p.name.isdigit()), default=0)
        reason = "the disk is full" if "No space left" in str(error) else _one_line(error)
        survivor = f"that of step {kept} is kept" if kept else "none was saved before"
        return CheckpointError(
            f"cannot write a checkpoint to {self.directory}: {reason}; {survivor}: "
            "make room and repeat the command"
        )


def restore_params(run_dir: str, like: PyTree) -> tuple[int, PyTree] | None:
    """Return the newest step of a run and its parameters alone, on one device, or None.

    `like` holds their shapes and dtypes. Raises CheckpointError as `restore_latest` does.
    """
    directory = epath.Path(run_dir).absolute() / CHECKPOINTS
    if not directory.exists():
        return None
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    params = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), like
    )
    wanted = {"params": params}
    arguments = ocp.checkpoint_utils.construct_restore_args(wanted)
    handlers = {"state": ocp.PyTreeCheckpointHandler()}
    with ocp.CheckpointManager(directory, item_handlers=handlers) as manager:
        step = manager.latest_step()
        if step is None:
            return None
        state = ocp.args.PyTreeRestore(wanted, restore_args=arguments, partial_restore=True)
        with _restoring(directory / str(step)) as path:
            _check_fits(path, wanted)
            restored = manager.restore(step, args=Composite(state=state))
    return step, restored.state["params"]


class _JsonHandler(ocp.CheckpointHandler):
    """Writes one JSON file, in process 0."""

    def save(self, directory: epath.Path, args: "_JsonSave") -> None:
        if jax.process_index() == 0:
            (directory / _EXTRA).write_text(json.dumps(args.item))

    def restore(self, directory: epath.Path, args: "_JsonRestore") -> Extra:
        return json.loads((directory / _EXTRA).read_text())


@ocp.args.register_with_handler(_JsonHandler, for_save=True)
class _JsonSave(CheckpointArgs):
    def __init__(self, item: Extra) -> None:
        self.item = item


@ocp.args.register_with_handler(_JsonHandler, for_restore=True)
class _JsonRestore(CheckpointArgs):
    pass


def _check_fits(path: epath.Path, like: PyTree) -> None:
    """Raise ValueError where an array of `like` is missing in the checkpoint or differs in shape.

    Orbax finds out too, but only while its other reads are under way.
    """
    saved = ocp.PyTreeCheckpointHandler().metadata(path / "state").tree
    shapes = {array.name: array.shape for array in jax.tree.leaves(saved)}
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(like):
        name = jax.tree_util.keystr(key_path, simple=True, separator=".")
        if name not in shapes:
            raise ValueError(f"it has no {name}")
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        if not is_key and shapes[name] != leaf.shape:
            raise ValueError(f"{name} has shape {shapes[name]}, where {leaf.shape} is needed")


@contextlib.contextmanager
def _restoring(path: epath.Path) -> Iterator[epath.Path]:
    """Turn whatever is wrong with the checkpoint `path` into one CheckpointError.

    The first damaged array makes Orbax close its event loop while other reads are under way. Each
    of those would print a traceback when it ends, which may be later, so after a failure their
    particular complaint stays hidden.
    """
    show = sys.unraisablehook

    def hide_stragglers(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            show(unraisable)

    sys.unraisablehook = hide_stragglers
    try:
        yield path
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be restored: {_one_line(error)}; it is damaged or of another model: "
            "remove it to go on from the one before, or use another run_dir"
        ) from error
    sys.unraisablehook = show


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + " ..."
