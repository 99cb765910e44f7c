"""The house's rules, enforced by reading the source: who may import whom, what is never called.

Every import counts, also one inside a function. Only the package's own `__init__`, which loads on
demand, may reach anywhere.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("lightning_artv", "data_prep", "evaluation")

# Part of lightning_artv -> the parts it may import besides itself. What is not listed sits on top
# and may import all of these, but never the command line.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "quiet": set(),
    "given": {"errors"},
    "exit_codes": {"errors"},
    "files": {"errors"},
    "names": {"errors", "files"},
    "columns": {"errors", "files"},
    "tables": {"errors", "files", "columns"},
    "numbers": set(),
    "batch": {"errors"},
    "options": {"errors"},
    "figures": set(),
    "diffusion": set(),
    "media": {"errors", "files", "figures"},
    "pages": {"media"},
    "progress": set(),
    "synthetic": {"errors", "media"},
    "data": {"errors", "files", "batch", "progress", "media", "diffusion"},
    "networks": {"errors", "quiet", "given", "files", "batch", "diffusion"},
    "systems": {"errors", "options", "batch", "figures", "data.windows", "diffusion", "networks"},
    "speed": {"errors", "systems"},
    "checkpoints": {"errors", "numbers", "files", "media", "networks", "systems"},
    "training": {
        *("errors", "quiet", "files", "batch", "figures", "progress", "media"),
        *("diffusion", "data", "networks", "systems", "checkpoints", "speed", "pipelines"),
    },
    "generation": {
        *("errors", "options", "given", "files", "progress", "media", "diffusion"),
        *("networks", "systems", "checkpoints", "pipelines"),
    },
    "pipelines": {
        *("errors", "options", "given", "media", "diffusion"),
        *("networks", "systems", "checkpoints", "generation"),
    },
}
COMMAND_LINE = "lightning_artv.cli"
MAY_IMPORT_CLI = {"lightning_artv.__main__"}

LIGHTNING = ("lightning", "pytorch_lightning", "lightning_fabric")
MAY_IMPORT_LIGHTNING = (
    "lightning_artv.training",
    "lightning_artv.data.datamodule",
    "lightning_artv.cli",
)
PURE_OUTSIDE = {"torch"}  # all that lightning_artv.diffusion needs besides the standard library

UNPICKLING = ("pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve")
HARMLESS = {"pickle.UnpicklingError"}
EXECUTING = ("eval", "exec", "compile", "os.system", "os.popen")
UNSAFE_YAML = ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all")
UNSAFE_OPTIONS = {
    "weights_only": False,
    "allow_pickle": True,
    "trust_remote_code": True,
    "use_safetensors": False,
    "shell": True,
}


def module_name(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> list[Path]:
    return sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))


def imports(code: str) -> set[str]:
    """Every name that is imported: `from a import b` gives `a.b`, `from . import b` gives `..b`."""
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            found |= {f"{source}.{alias.name}" for alias in node.names}
    return found


def is_within(name: str, *places: str) -> bool:
    return any(name == place or name.startswith(place + ".") for place in places)


def part_of(name: str) -> str:
    """`lightning_artv.diffusion.noise` -> `diffusion`."""
    return ([*name.split("."), ""])[1]


def import_problems(code: str, module: str) -> Iterator[str]:
    """What a module's imports break."""
    part = part_of(module) if is_within(module, "lightning_artv") else ""
    for name in sorted(imports(code)):
        if name.startswith("."):
            yield f"{module} imports {name}: write relative imports out"
        if is_within(name, *LIGHTNING) and not is_within(module, *MAY_IMPORT_LIGHTNING):
            yield f"{module} imports Lightning ({name})"
        if is_within(name, COMMAND_LINE) and module not in MAY_IMPORT_CLI:
            yield f"{module} imports the command line"
        if part == "diffusion" and not is_pure(name):
            yield f"{module} is to be pure torch but imports {name}"
        if part in MAY_IMPORT and is_upwards(part, name):
            yield f"{module} ({part}) imports {name}: not downwards"
        if part and is_within(name, "data_prep", "evaluation", "tests", "benchmarks"):
            yield f"{module} imports {name}, which is built on the package"
        if are_siblings(module, name):
            yield f"{module} imports its sibling {name}"


def is_upwards(part: str, name: str) -> bool:
    allowed = (f"lightning_artv.{below}" for below in MAY_IMPORT[part] | {part})
    return is_within(name, "lightning_artv") and not is_within(name, *allowed)


def is_pure(name: str) -> bool:
    top = name.split(".")[0]
    return top in PURE_OUTSIDE | sys.stdlib_module_names or is_within(
        name, "lightning_artv.diffusion"
    )


CONTRACT = ("base", "clips", "denoiser", "latent", "request", "settings", "teaching")


def are_siblings(module: str, name: str) -> bool:
    """Two different systems; the contract (`systems.base`, `latent`, ...) is nobody's sibling."""
    mine, other = module.split("."), name.split(".")
    both_systems = mine[:2] == other[:2] == ["lightning_artv", "systems"]
    if not both_systems or len(mine) < 3 or len(other) < 3 or other[2] in CONTRACT:
        return False
    return mine[2] != other[2]


def unsafe_problems(code: str, module: str) -> Iterator[str]:
    """Where a file's contents could be unpickled or executed."""
    for name in sorted(imports(code)):
        if is_within(name, *UNPICKLING) and name not in {*HARMLESS, "pickle"}:
            yield f"{module} imports {name}"
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if is_within(name, *UNPICKLING) and name not in HARMLESS:
                yield f"{module} uses {name}"
        if isinstance(node, ast.Call):
            yield from unsafe_call(node, module)


def unsafe_call(node: ast.Call, module: str) -> Iterator[str]:
    called = ast.unparse(node.func)
    options = {k.arg: k.value.value for k in node.keywords if isinstance(k.value, ast.Constant)}
    if called in EXECUTING or called in UNSAFE_YAML:
        yield f"{module} calls {called}"
    if called == "torch.load" and options.get("weights_only") is not True:
        yield f"{module} calls torch.load without weights_only=True"
    for option, value in UNSAFE_OPTIONS.items():
        if options.get(option, object()) is value:
            yield f"{module} passes {option}={value} to {called}"


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_imports_point_one_way(path):
    assert list(import_problems(path.read_text(), module_name(path))) == []


@pytest.mark.parametrize("path", sources(), ids=module_name)
def test_nothing_read_is_unpickled_or_executed(path):
    assert list(unsafe_problems(path.read_text(), module_name(path))) == []


def test_the_sources_were_found():
    names = {module_name(path) for path in sources()}
    assert {"lightning_artv", "lightning_artv.diffusion.samplers", "data_prep"} <= names


@pytest.mark.parametrize(
    ("module", "code", "words"),
    [
        ("lightning_artv.diffusion.x", "from lightning_artv.networks import unet", "not downwards"),
        ("lightning_artv.diffusion.x", "import diffusers", "pure"),
        ("lightning_artv.diffusion.x", "def f():\n    import numpy", "pure"),
        ("lightning_artv.diffusion.x", "from ..networks.unet import a", "write relative"),
        ("lightning_artv.networks.x", "import lightning_artv.systems.base", "not downwards"),
        ("lightning_artv.systems.artv.x", "from lightning_artv.training import ema", "downwards"),
        ("lightning_artv.systems.artv.x", "import lightning.pytorch as L", "Lightning"),
        ("lightning_artv.systems.a.x", "import lightning_artv.systems.b.y", "sibling"),
        ("lightning_artv.systems.a.x", "from lightning_artv.systems import b", "sibling"),
        ("lightning_artv.data.shards", "from lightning import LightningDataModule", "Lightning"),
        ("lightning_artv.generation.videos", "import lightning", "Lightning"),
        ("lightning_artv.training.x", "from lightning_artv.cli import main", "command line"),
        ("lightning_artv.generation.videos", "from lightning_artv import cli", "command line"),
        ("lightning_artv.training.x", "import data_prep.shards.folder", "built on the package"),
        ("data_prep.x", "import pytorch_lightning", "Lightning"),
    ],
)
def test_the_checker_notices_a_planted_import(module, code, words):
    problems = list(import_problems(code, module))
    assert problems and any(words in problem for problem in problems)


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ntorch.load(f)",
        "torch.load(f, weights_only=False)",
        "torch.load(f, weights_only=flag)",
        "import pickle\npickle.load(f)",
        "from pickle import loads",
        "import joblib",
        "import marshal as m",
        "eval(text)",
        "exec(text)",
        "import yaml\nyaml.load(f)",
        "numpy.load(f, allow_pickle=True)",
        "AutoModel.from_pretrained(p, trust_remote_code=True)",
        "UNet.from_pretrained(p, use_safetensors=False)",
        "trainer.fit(model, weights_only=False)",
        "subprocess.run(line, shell=True)",
    ],
)
def test_the_checker_notices_a_planted_danger(code):
    assert list(unsafe_problems(code, "lightning_artv.x"))


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("lightning_artv.systems.artv.x", "from lightning_artv.systems.base import VideoSystem"),
        ("lightning_artv.systems.artv.x", "from lightning_artv.diffusion import samplers"),
        ("lightning_artv.systems.artv.x", "from lightning_artv.systems.artv import masking"),
        ("lightning_artv.data.datamodule", "import lightning.pytorch as L"),
        ("lightning_artv.training.ema", "from lightning_artv.systems.base import VideoSystem"),
        ("lightning_artv.__main__", "from lightning_artv.cli import main"),
        ("lightning_artv.x", "torch.load(f, weights_only=True)\nmodel.eval()\nre.compile('a')"),
        ("lightning_artv.x", "import pickle\ntry: f()\nexcept pickle.UnpicklingError: pass"),
    ],
)
def test_the_checker_lets_pass_what_is_right(module, code):
    assert list(import_problems(code, module)) == []
    assert list(unsafe_problems(code, module)) == []
