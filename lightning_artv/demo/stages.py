"""The demo's stages: what ships, shards, training, generation and measures, page."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning_artv.demo import evaluate, page
from lightning_artv.errors import UserError
from lightning_artv.media.atomic import write_atomically

DATA_SEED, HELDOUT_SEED = 0, 1
MODEL = Path("models/shapes")


@dataclass(frozen=True)
class Lesson:
    """What a demo trains.

    Attributes:
        system: whose it is, as papers call it.
        config: configuration of the training.
        clips: how many training videos.
        sets: folder of the shards -> options of `data_prep shapes` for it, besides number and seed.
        color: the new word that is learned; None: all is learned from random weights.
        first: name -> configuration of a training that `config` starts from, in a folder of that
            name; each starts from the one before.
        others: title -> settings of generation that are shown beside the system's own.
        painted: whether the model that ships makes the first frames, from captions.
        frames: of the videos from captions; None for as many as a scene has.
    """

    system: str
    config: Path
    clips: int
    sets: Mapping[str, Sequence[str]]
    color: str | None = None
    first: Mapping[str, Path] = field(default_factory=dict)
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    painted: bool = False
    frames: int | None = None

    @property
    def name(self) -> str:
        """What a folder that holds it is known by."""
        return self.color or ("scratch" if self.system == "ART•V" else self.system.lower())

    def trainings(self, out: Path) -> list[tuple[Path, Path]]:
        """Configuration and folder of each training, in order."""
        return [
            *((config, out / folder) for folder, config in self.first.items()),
            (self.config, out),
        ]


_TORUS = ("--scenes", "torus", "--frames", "32")
NEW = "orange"
COLOR = Lesson(
    "ART•V",
    Path("configs/artv/color.yaml"),
    300,
    {"known": _TORUS, "new": (*_TORUS, "--color", NEW)},
    NEW,
)
"""The model that ships learns a colour that it has never seen."""
SCRATCH = Lesson("ART•V", Path("configs/artv/demo.yaml"), 3000, {"train": ()})
"""A model learns all that it knows, from random weights."""
VIDRD = Lesson(
    "VidRD",
    Path("configs/vidrd/demo.yaml"),
    3000,
    {"train": _TORUS},
    first={"images": Path("configs/vidrd/demo_images.yaml")},
    others={"joined by reuse, the paper's way": {"join": "reuse"}},
    frames=16,
)
"""The same of VidRD: pictures first, then clips."""
VIDEOGEN = Lesson(
    "VideoGen", Path("configs/videogen/demo_base.yaml"), 3000, {"train": ()}, painted=True
)
"""VideoGen's base learns to move a reference picture, which another model makes of a caption."""
LESSONS = {"color": COLOR, "scratch": SCRATCH, "vidrd": VIDRD, "videogen": VIDEOGEN}


class Demo:
    """One demo in one folder.

    Args:
        out: where everything is written.
        lesson: what is trained.
        heldout_clips: how many clips are measured.
        model: exported folder of the trained model that is shown first.
    """

    def __init__(
        self, out: Path, lesson: Lesson, heldout_clips: int = 64, model: Path = MODEL
    ) -> None:
        for path in (*lesson.first.values(), lesson.config, model):
            if not path.exists():
                raise UserError(f"{path} does not exist: run the demo from the project's folder.")
        self.out, self.lesson, self.model, self.heldout = out, lesson, model, heldout_clips
        self.seconds_file = out / "seconds.json"

    def run(self, overrides: Sequence[str] = ()) -> None:
        """Run what is missing and say where to look.

        Raises:
            UserError: the folder holds a demo of something else, or a command failed.
        """
        before = self._seconds()
        if before and before.get("lesson", "scratch") != self.lesson.name:
            raise UserError(f"{self.out} holds another demo: remove it, or choose another --out.")
        self._timed("shipped", self._show_shipped)
        self._timed("shards", self._make_shards)
        self._timed("training", lambda: self._train(overrides))
        self._timed("generation", self._generate)
        lesson = self.lesson
        painter = str(self.model) if lesson.painted else f"{lesson.system}'s own"
        page.write(self.out, lesson.system, painter)
        print(
            f"\nDone. Look at:\n  {self.out / 'index.html'}  (everything, offline)\n"
            f"  {self.out / 'samples.gif'}  (truth above, generated below)\n"
            f"  {self.out / 'metrics.json'}\n  tensorboard --logdir {self.out}  (or `make "
            f"tensorboard`)"
        )

    def _timed(self, name: str, stage: Callable[[], None]) -> None:
        """Run a stage unless it is finished; its seconds add up over interruptions."""
        seconds = self._seconds()
        if seconds.get(f"{name}_done"):
            print(f"{name}: done before, skipped")
            return
        began = time.monotonic()
        finished = False
        try:
            stage()
            finished = True
        finally:
            seconds["lesson"] = self.lesson.name
            seconds[name] = round(seconds.get(name, 0) + time.monotonic() - began, 1)
            if finished:
                seconds[f"{name}_done"] = True
            self.out.mkdir(parents=True, exist_ok=True)
            write_atomically(self.seconds_file, json.dumps(seconds, indent=1).encode())

    def _seconds(self) -> dict[str, Any]:
        if not self.seconds_file.exists():
            return {}
        loaded = json.loads(self.seconds_file.read_text())
        return dict(loaded)

    def _show_shipped(self) -> None:
        """What the model in `models/` makes of captions alone, before anything is trained."""
        self.out.mkdir(parents=True, exist_ok=True)
        result = evaluate.shipped(self.model, self.out, HELDOUT_SEED)
        print(f"{self.model}, from captions alone: {self.out / 'shipped.gif'}", flush=True)
        if self.lesson.color is not None:
            before = evaluate.word(
                self.model, self.out / "before.gif", self.lesson.color, self.heldout, HELDOUT_SEED
            )
            result["new"] = before
        write_atomically(self.out / "shipped.json", json.dumps(result, indent=1).encode())

    def _make_shards(self) -> None:
        train = (self.lesson.clips, DATA_SEED, "train")
        sets = [(name, options, *train) for name, options in self.lesson.sets.items()]
        sets.append(("heldout", sets[-1][1], self.heldout, HELDOUT_SEED, "heldout"))
        for name, options, count, seed, split in sets:
            numbers = ["--count", str(count), "--seed", str(seed), "--split", split]
            folder = str(self.out / "shards" / name)
            _command("data_prep", "shapes", folder, *numbers, *options, "--overwrite")

    def _train(self, overrides: Sequence[str]) -> None:
        """`lightning fit` for each training, from its last checkpoint where there is one."""
        before: Path | None = None
        for config, folder in self.lesson.trainings(self.out):
            self._fit(config, folder, before, overrides)
            before = _last(folder)

    def _fit(
        self, config: Path, folder: Path, before: Path | None, overrides: Sequence[str]
    ) -> None:
        data = {} if self.lesson.color else {"train": "train", "val": "heldout"}
        arguments = [
            *("fit", "--config", str(config), f"--trainer.default_root_dir={folder}"),
            *(f"--data.{name}={self.out / 'shards' / shards}" for name, shards in data.items()),
            *(f"--{override}" for override in overrides),
        ]
        if _last(folder).exists():
            arguments += ["--ckpt_path", str(_last(folder))]
        elif before is not None:
            arguments += ["--model.init_from", str(before)]
        _command("lightning_artv", *arguments)

    def _generate(self) -> None:
        checkpoint = _last(self.out)
        lesson, painter = self.lesson, self.model if self.lesson.painted else None
        given = (checkpoint, self.out, self.heldout, HELDOUT_SEED)
        result = evaluate.run(*given, lesson.others, painter, lesson.frames)
        if self.lesson.color is not None:
            result["new"] = evaluate.word(
                checkpoint,
                self.out / "after.gif",
                self.lesson.color,
                self.heldout,
                HELDOUT_SEED,
            )
        seconds = {k: v for k, v in self._seconds().items() if not isinstance(v, bool | str)}
        result["seconds"] = {**seconds, "generation": result.pop("generation_seconds")}
        result["seeds"] = {"train_data": DATA_SEED, "heldout_data": HELDOUT_SEED, **result["seeds"]}
        result["shipped"] = json.loads((self.out / "shipped.json").read_text())
        train = self.lesson.clips * len(self.lesson.sets)
        result["sizes"] = {"train": train, "heldout": self.heldout, **result["sizes"]}
        result["peak_memory_gb"] = _peak_memory_gb()
        write_atomically(self.out / "metrics.json", json.dumps(result, indent=1).encode())


def _last(folder: Path) -> Path:
    """The last checkpoint of the training in a folder."""
    return folder / "checkpoints" / "last.ckpt"


def _command(*arguments: str) -> None:
    """Show and run `python -m ...` in a process of its own, as a user would.

    Raises:
        UserError: it failed; it has said why.
        KeyboardInterrupt: it was interrupted.
    """
    print("$ python -m " + " ".join(arguments), flush=True)
    warnings = os.environ.get("PYTHONWARNINGS", "ignore")
    environment = {**os.environ, "PYTHONWARNINGS": warnings}
    code = subprocess.call([sys.executable, "-m", *arguments], env=environment)
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise UserError(f"`{arguments[0]} {arguments[1]}` ended with exit code {code}; see above.")


def _peak_memory_gb() -> float:
    """The largest resident size of this process or of any that it started, in 10^9 bytes."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    unit = 1 if sys.platform == "darwin" else 1024
    return round(max(u.ru_maxrss for u in usages) * unit / 1e9, 2)
