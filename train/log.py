"""Where a run's numbers and pictures go: metrics.jsonl always, the console, and Weights & Biases when asked."""

import json
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from PIL.Image import Image
from torch import Tensor
from tqdm import tqdm

from vae_augment.atomic import atomic_write

FINISH_TIMEOUT = 300  # seconds that the end of a run waits for W&B; without a limit, a dead server holds it for hours
RUN_ID = "wandb_run"  # file with the id of the W&B run, by which a resumed run goes on
WandbMode = Literal["online", "offline", "disabled"]


class Log:
    """A context manager; `with Log(...) as log:`.

    Args:
        folder: of the run; `metrics.jsonl` is in it.
        config: the full recipe, as W&B shows it.
        steps: length of the progress bar.
        wandb_mode: None: $WANDB_MODE, else online if a key is configured, else offline.
        done: steps of an earlier part of the run, whose lines are kept and whose W&B run goes on; 0 begins anew.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any], steps: int, wandb_mode: WandbMode | None, done: int = 0
    ) -> None:
        path = folder / "metrics.jsonl"
        kept = [line for line in _lines(path) if _is_kept(json.loads(line), done, steps)] if done else []
        atomic_write(path, "".join(kept).encode())
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed in __exit__)
        # off a terminal the bar would be thousands of lines; the lines of `write` remain
        self._bar = tqdm(total=steps, initial=done, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True)
        self._wandb = self._run = _start_wandb(folder, config, wandb_mode, resume=done > 0)

    def __enter__(self) -> Self:
        return self

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers of a step, under their names."""
        self._file.write(json.dumps({"step": step} | {k: round(v, 6) for k, v in metrics.items()}) + "\n")
        self._file.flush()
        self._bar.update(step - self._bar.n)
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in metrics.items() if "/" not in name})
        if self._bar.disable and step % 500 == 0:
            self.say(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))
        self._send({"step": step, **metrics})

    def images(self, step: int, grids: Mapping[str, Image]) -> None:
        """Pictures, in W&B only."""
        if self._wandb is not None:
            import wandb

            self._send({"step": step} | {name: wandb.Image(grid) for name, grid in grids.items()})

    def histogram(self, step: int, name: str, values: Tensor) -> None:
        """The distribution of these values, in W&B only."""
        if self._wandb is not None:
            import wandb

            self._send({"step": step, name: wandb.Histogram(values.flatten().tolist())})

    def weights(self, files: Sequence[Path], name: str, aliases: Sequence[str]) -> None:
        """Keep these files as a W&B artifact of type model, which `run.use_artifact(f"{name}:latest")` gives back."""
        if self._wandb is not None:
            self._guard(self._log_artifact, files, name, aliases)

    def _log_artifact(self, files: Sequence[Path], name: str, aliases: Sequence[str]) -> None:
        import wandb

        artifact = wandb.Artifact(re.sub(r"[^\w.-]+", "-", name).strip("-") or "weights", type="model")
        for file in files:
            artifact.add_file(str(file))
        self._wandb.log_artifact(artifact, aliases=["latest", *aliases])

    def say(self, text: str) -> None:
        self._bar.write(text, file=sys.stderr)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._file.close()
        if self._run is not None:  # also after a failure: else W&B's own end would wait without limit
            self._guard(self._run.finish, exit_code=0 if kind is None else 1)

    def _send(self, record: Mapping[str, Any]) -> None:
        if self._wandb is not None:
            self._guard(self._wandb.log, dict(record))

    def _guard(self, call: Any, *args: Any, **kwargs: Any) -> None:
        # tracking must never cost a run
        try:
            call(*args, **kwargs)
        except Exception as error:
            warnings.warn(f"W&B is off from here on, metrics.jsonl goes on: {error}", stacklevel=3)
            self._wandb = None


def _lines(path: Path) -> list[str]:
    """The whole lines of a file; a kill may have cut off the last."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _is_kept(record: Mapping[str, Any], done: int, steps: int) -> bool:
    # what is measured once all steps are done is measured anew
    is_last = record["step"] == steps and any(name.startswith("test/") for name in record)
    return record["step"] <= done and not is_last


def _start_wandb(folder: Path, config: Mapping[str, Any], mode: str | None, resume: bool) -> Any:
    mode = mode or os.environ.get("WANDB_MODE")
    if mode == "disabled":
        return None
    try:
        import wandb
    except ImportError:
        if mode is not None:
            raise
        print("wandb is not installed (pip install wandb): only metrics.jsonl is written", file=sys.stderr)
        return None
    if mode is None:
        mode = "online" if _is_logged_in() else "offline"
    name = folder / RUN_ID
    for attempt in dict.fromkeys((mode, "offline")):
        try:
            run = wandb.init(
                project="vae-augment",
                dir=folder,
                config=dict(config),
                mode=attempt,  # type: ignore[arg-type]
                id=name.read_text() if resume and name.is_file() else None,
                resume="allow",
                settings=wandb.Settings(finish_timeout=float(os.environ.get("WANDB_FINISH_TIMEOUT", FINISH_TIMEOUT))),
            )
            atomic_write(name, run.id.encode())
            run.define_metric("step")
            run.define_metric("*", step_metric="step")  # our own axis
            for metric, best in (("test/psnr_db", "max"), ("test/nats", "min"), ("total", "min")):
                run.define_metric(metric, step_metric="step", summary=f"last,{best}")
            print(f"W&B: {run.url or f'offline, `wandb sync {Path(run.dir).parent}` uploads it'}", file=sys.stderr)
            return run
        except Exception as error:
            print(f"W&B does not start {attempt}: {error}", file=sys.stderr)
    return None


def _is_logged_in() -> bool:
    import wandb

    try:
        return bool(wandb.login(prompt=False))
    except Exception:  # a key, but no answer: no reason to wait for one through the run
        return False
