"""Where a run's numbers and pictures go: metrics.jsonl always, the console, and Weights & Biases when asked."""

import contextlib
import hashlib
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from PIL.Image import Image
from torch import Tensor
from tqdm import tqdm

from vae_augment.atomic import atomic_write
from vae_augment.user_warning import warn

WANDB_FINISH_SECONDS = (
    300  # that the end of a run waits for W&B at most; without a limit, a dead server holds it for hours
)
WANDB_ID_FILE = "wandb_run"  # holds the id of the W&B run, which a resumed run continues
WANDB_MODE_FILE = "wandb_mode"  # holds what --wandb said, if it was given: a resumed run sends no more than that
PRINT_EVERY = 500  # steps, where there is no terminal for a progress bar
MAX_ARTIFACT_NAME = 100  # characters; W&B takes 128
WANDB_TALK = ("WANDB_QUIET", "WANDB_SHOW_INFO")  # variables with which a user decides what W&B prints
TRUE_VALUES = ("1", "true", "yes", "on")  # of $WANDB_DISABLED, in any case
WandbMode = Literal["online", "offline", "disabled"]
LEAST_SENT_FIRST: tuple[WandbMode, ...] = ("disabled", "offline", "online")


class Log:
    """The log of a run, a context manager.

    Args:
        folder: of the run; `metrics.jsonl` is in it.
        config: the full recipe, as W&B shows it.
        steps: steps of the whole run.
        wandb_mode: what --wandb said. None: $WANDB_MODE, else disabled by $WANDB_DISABLED, else online if a key is
            configured, else offline.
        done: steps of the run that is resumed: their lines are kept, and its W&B run goes on; 0 begins anew.
    """

    def __init__(
        self, folder: Path, config: Mapping[str, Any], steps: int, wandb_mode: WandbMode | None, done: int = 0
    ) -> None:
        path = folder / "metrics.jsonl"
        kept = [record for record in _records(path) if _is_kept(record, done, steps)] if done else []
        atomic_write(path, "".join(json.dumps(record) + "\n" for record in kept).encode())
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 (closed in __exit__)
        # without a terminal the bar would be thousands of lines; `say` still prints its own
        self._bar = tqdm(total=steps, initial=done, unit="step", disable=not sys.stderr.isatty(), dynamic_ncols=True)
        self._wandb = self._run = _start_wandb(folder, config, wandb_mode, resume=done > 0)

    def __enter__(self) -> Self:
        return self

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step, by name; names without a slash are also shown by the progress bar."""
        self._file.write(json.dumps({"step": step} | {k: round(v, 6) for k, v in metrics.items()}) + "\n")
        self._file.flush()
        self._bar.update(step - self._bar.n)
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in metrics.items() if "/" not in name})
        if self._bar.disable and step % PRINT_EVERY == 0:
            self.say(f"step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()))
        self._send({"step": step, **metrics})

    def images(self, step: int, grids: Mapping[str, Image]) -> None:
        """Log pictures, in W&B only."""
        if self._wandb is not None:
            import wandb

            self._send({"step": step} | {name: wandb.Image(grid) for name, grid in grids.items()})

    def histogram(self, step: int, name: str, values: Tensor) -> None:
        """Log the distribution of these values, in W&B only."""
        if self._wandb is not None:
            import wandb

            self._send({"step": step, name: wandb.Histogram(values.flatten().tolist())})

    def weights(self, files: Sequence[Path], name: str, aliases: Sequence[str]) -> None:
        """Save these files as a W&B artifact of type model, which `run.use_artifact(f"{name}:latest")` returns."""
        if self._wandb is not None:
            self._guard(self._log_artifact, files, name, aliases)

    def _log_artifact(self, files: Sequence[Path], name: str, aliases: Sequence[str]) -> None:
        import wandb

        artifact = wandb.Artifact(artifact_name(name), type="model")
        for file in files:
            artifact.add_file(str(file))
        self._wandb.log_artifact(artifact, aliases=["latest", *aliases])

    def say(self, text: str) -> None:
        """Print a line to stderr, above the progress bar."""
        self._bar.write(text, file=sys.stderr)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._file.close()
        if self._run is not None:  # also after an error: at the interpreter's exit, W&B would wait without limit
            self._guard(self._run.finish, exit_code=0 if kind is None else 1)

    def _send(self, record: Mapping[str, Any]) -> None:
        if self._wandb is not None:
            self._guard(self._wandb.log, dict(record))

    def _guard(self, call: Any, *args: Any, **kwargs: Any) -> None:
        # an error of W&B must not end the run
        try:
            call(*args, **kwargs)
        except Exception as error:
            warn(f"W&B is off from here on, metrics.jsonl goes on: {error}")
            self._wandb = None


def remember_wandb_mode(folder: Path, mode: WandbMode | None) -> None:
    """Write down what --wandb said, for `remembered_wandb_mode`; what was said before stays if it said nothing now."""
    if mode is not None:
        atomic_write(folder / WANDB_MODE_FILE, mode.encode())


def remembered_wandb_mode(folder: Path) -> WandbMode | None:
    """Return what --wandb last said of the run in this folder; None if it said nothing, or if the environment allows less.

    Raises:
        ValueError: the file that holds it is damaged.
    """
    path = folder / WANDB_MODE_FILE
    if not path.is_file():
        return None
    said = path.read_bytes().decode("utf-8", "replace").strip()
    for number, mode in enumerate(LEAST_SENT_FIRST):
        if mode == said:
            # an older word does not overrule what the environment forbids now, as WANDB_MODE=disabled before this command
            return None if _environment_mode() in LEAST_SENT_FIRST[:number] else mode
    raise ValueError(
        f"{path} is damaged: go on with --wandb {', '.join(LEAST_SENT_FIRST[:-1])} or {LEAST_SENT_FIRST[-1]}"
    )


def artifact_name(name: str) -> str:
    """Return a name that W&B takes: ASCII letters and digits, "-", "_" and "."; a name that loses letters gets a checksum.

    Example:
        >>> artifact_name("vae-my photos"), artifact_name("vae-照片")
        ('vae-my-photos', 'vae-672078')
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    short = re.sub(r"[^A-Za-z0-9_.-]+", "-", plain).strip("-")[:MAX_ARTIFACT_NAME] or "weights"
    is_whole = plain.isascii() and len(plain) == len(name) and len(plain) <= MAX_ARTIFACT_NAME
    return short if is_whole else f"{short}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:6]}"


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Read the records of a file, without lines that a kill or a power cut left unfinished, empty or damaged."""
    lines = path.read_bytes().split(b"\n") if path.is_file() else []
    for line in lines[:-1]:
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict) and type(record.get("step")) is int:
                yield record


def _is_kept(record: Mapping[str, Any], done: int, steps: int) -> bool:
    # the measurement after the last step is made anew
    is_last = record["step"] == steps and any(name.startswith("test/") for name in record)
    return record["step"] <= done and not is_last


def _start_wandb(folder: Path, config: Mapping[str, Any], mode: str | None, resume: bool) -> Any:
    """Start a W&B run, offline if the server cannot be reached; return None without one."""
    mode = mode or _environment_mode()
    if mode == "disabled":
        return None
    try:
        import wandb  # noqa: F401
    except ImportError:
        if mode is not None:
            raise
        print("wandb is not installed (pip install wandb): only metrics.jsonl is written", file=sys.stderr)
        return None
    _hide_tables()
    if mode is None:
        mode = "online" if _is_logged_in() else "offline"
    for attempt in dict.fromkeys((mode, "offline")):
        try:
            return _init_wandb(folder, config, attempt, resume)
        except Exception as error:
            print(f"W&B does not start {attempt}: {error}", file=sys.stderr)
    return None


def _environment_mode() -> str | None:
    is_off = os.environ.get("WANDB_DISABLED", "").lower() in TRUE_VALUES
    mode = os.environ.get("WANDB_MODE") or ("disabled" if is_off else None)
    return "offline" if mode == "dryrun" else mode  # W&B's older word


def _init_wandb(folder: Path, config: Mapping[str, Any], mode: str, resume: bool) -> Any:
    import wandb

    id_file = folder / WANDB_ID_FILE
    timeout = float(os.environ.get("WANDB_FINISH_TIMEOUT", WANDB_FINISH_SECONDS))
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT") or "vae-augment",
        dir=os.environ.get("WANDB_DIR") or folder,
        config=dict(config),
        mode=mode,  # type: ignore[arg-type]
        id=id_file.read_text() if resume and id_file.is_file() else os.environ.get("WANDB_RUN_ID"),
        resume=os.environ.get("WANDB_RESUME") or "allow",  # type: ignore[arg-type]
        settings=wandb.Settings(finish_timeout=timeout),
    )
    atomic_write(id_file, run.id.encode())
    run.define_metric("step")
    run.define_metric("*", step_metric="step")  # instead of W&B's own count of calls
    for metric, best in (("test/psnr_db", "max"), ("test/nats", "min"), ("total", "min")):
        run.define_metric(metric, step_metric="step", summary=f"last,{best}")
    # an offline run warns when it is asked for its url
    place = f"offline, `wandb sync {Path(run.dir).parent}` uploads it" if run.offline else run.url
    print(f"W&B: {place}", file=sys.stderr)
    return run


def _hide_tables() -> None:
    """Leave out W&B's thirty lines around a run's one result: our own line says where the run is. Its warnings still show."""
    import wandb

    if not os.environ.keys() & set(WANDB_TALK):
        with contextlib.suppress(Exception):  # what is wrong with its settings is told where the run starts
            wandb.setup(settings=wandb.Settings(show_info=False, quiet=True))


def _is_logged_in() -> bool:
    import wandb

    try:
        return bool(wandb.login(prompt=False))
    except Exception:  # there is a key, but no answer: the run does not wait for one
        return False
