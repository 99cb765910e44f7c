"""Tensors of published weight files, read without running anything that the files hold.

A TorchScript archive is a zip: `data.pkl` describes a tree of modules, `data/0`, `data/1`, ... are
raw tensors, `code/` is the program. Only the tensors are wanted, so the description is read opcode
by opcode (`pickletools` decodes, it does not execute) into inert records: a global becomes its
name, a call becomes "this name with these arguments", and nothing is imported or called. The
program is not read at all.
"""

from __future__ import annotations

import pickletools
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lightning_artv.errors import CorruptWeightsError
from lightning_artv.networks.state_dict import load_tensors, without_wrapper


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Named tensors of a `.pt`/`.pth` state dict, `.safetensors`, TorchScript archive or `.npz`.

    Names are those of the file (`layer/W` in Chainer's npz) without a wrapper's `module.`.

    Raises:
        CorruptWeightsError: damaged, or not such a file.
    """
    try:
        if path.suffix == ".npz":
            return _read_npz(path)
        if path.suffix == ".safetensors":
            return without_wrapper(load_file(path))
        if is_torchscript(path):
            return without_wrapper(_read_torchscript(path))
    except _MALFORMED as error:
        raise CorruptWeightsError(
            f"{path} is damaged ({str(error)[:100] or type(error).__name__}), and nothing in it "
            f"was run: download it again."
        ) from error
    return load_tensors(path)


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive of `torch.jit.save`."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_npz(path: Path) -> dict[str, Tensor]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        description = min(names, key=len)
        root = description[: -len("data.pkl")]
        tree = interpret(archive.read(description))
        return dict(_tensors(tree, "", lambda key: archive.read(f"{root}data/{key}")))


@dataclass(frozen=True)
class Name:
    """A global that a file refers to, as text."""

    text: str


@dataclass
class Record:
    """What would be an object: the name of its class or function, its arguments and its state."""

    name: Name
    arguments: Any
    state: Any = field(default=None)


@dataclass(frozen=True)
class Stored:
    """A reference to bytes outside the description."""

    reference: Any


class _Mark:
    """Where a group of stack entries begins."""


_MARK = _Mark()
_MALFORMED = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, IndexError),
    *(TypeError, AttributeError, RuntimeError, OverflowError, SafetensorError),
)


def interpret(description: bytes) -> Any:
    """Read pickled data into dicts, lists, tuples, numbers, texts and inert records.

    Raises:
        ValueError: an opcode that weight files have no use for, or a malformed stream.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(description):
        if opcode.name == "STOP":
            return machine.stack.pop()
        machine.step(opcode.name, argument)
    raise ValueError("the description has no end")


class _Machine:
    """A stack machine for the data part of the pickle language."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        if opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _STEPS:
            _STEPS[opcode](self, argument)
        elif opcode not in ("PROTO", "FRAME"):
            raise ValueError(f"opcode {opcode} has no place in a weight file")

    def group(self) -> list[Any]:
        """Pop everything above the last mark, and the mark."""
        start = max(i for i, entry in enumerate(self.stack) if entry is _MARK)
        entries = self.stack[start + 1 :]
        del self.stack[start:]
        return entries

    def tuple_of(self, count: int) -> None:
        entries = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        self.stack.append(entries)

    def call(self) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        if not isinstance(name, Name):
            raise ValueError("something without a name is called")
        self.stack.append(Record(name, arguments))

    def build(self) -> None:
        state = self.stack.pop()
        self.stack[-1].state = state

    def extend(self, entries: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise ValueError("entries are appended to what is no list")
        target.extend(entries)

    def update(self, entries: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Record):  # an OrderedDict is a call that is filled afterwards
            return
        for key, value in zip(entries[::2], entries[1::2], strict=True):
            target[key] = value


_CONSTANTS: dict[str, Any] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
    "MARK": _MARK,
}
_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "SHORT_BINSTRING", "BINSTRING"),
}


def _store(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _fetch(machine: _Machine, index: int) -> None:
    machine.stack.append(machine.memo[index])


_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.group())),
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "APPEND": lambda m, _: m.extend([m.stack.pop()]),
    "APPENDS": lambda m, _: m.extend(m.group()),
    "SETITEM": lambda m, _: m.update([m.stack.pop(-2), m.stack.pop()]),
    "SETITEMS": lambda m, _: m.update(m.group()),
    "GLOBAL": lambda m, text: m.stack.append(Name(text.replace(" ", "."))),
    "REDUCE": lambda m, _: m.call(),
    "NEWOBJ": lambda m, _: m.call(),
    "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.stack.append(Stored(m.stack.pop())),
    "BINPUT": _store,
    "LONG_BINPUT": _store,
    "BINGET": _fetch,
    "LONG_BINGET": _fetch,
}

_DTYPES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.BoolStorage": torch.bool,
    "torch.ByteStorage": torch.uint8,
}


def _tensors(entry: Any, name: str, read: Callable[[str], bytes]) -> Iterator[tuple[str, Tensor]]:
    """Walk the tree of modules: `(name, tensor)` in order of definition."""
    if not isinstance(entry, Record):
        return
    if entry.name.text == "torch._utils._rebuild_tensor_v2":
        yield name, _rebuild(entry.arguments, read)
    elif isinstance(entry.state, dict):
        for key, value in entry.state.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key), read)


def _rebuild(arguments: Any, read: Callable[[str], bytes]) -> Tensor:
    """A tensor from `(storage, offset, shape, strides, ...)`; `as_strided` checks the bounds."""
    stored, offset, shape, strides = arguments[:4]
    _, kind, key, _, _ = stored.reference
    data = bytearray(read(key))
    return torch.frombuffer(data, dtype=_DTYPES[kind.text]).as_strided(shape, strides, offset)
