"""No circle of files, imports inside functions and under TYPE_CHECKING included."""

from __future__ import annotations

from test_architecture import PACKAGES, imports, module_name, sources


def imported_files(code: str, module: str, known: set[str]) -> set[str]:
    """The modules among `known` that a module's imports name, wherever in it they stand."""
    found = set()
    for name in imports(code):
        holder = name if name in known else name.rpartition(".")[0]
        found |= {holder} & known - {module}
    return found


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The names along one circle of `graph`, the first one again at its end; empty without one."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph[name]):
            if found := walk(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def test_no_circle_of_files():
    """Imports inside functions and under TYPE_CHECKING count; only the package's `__init__`, which
    loads on demand, is left out.
    """
    code = {module_name(path): path.read_text() for path in sources()}
    known = set(code) - set(PACKAGES)
    graph = {name: imported_files(code[name], name, known) for name in known}
    assert circle(graph) == []


def test_a_planted_circle_is_found():
    known = {"a", "a.b", "c", "d"}
    planted = {
        "a.b": "def f():\n    from c import x",
        "c": "if TYPE_CHECKING:\n    from d import y",
        "d": "from a.b import z",
        "a": "import c",
    }
    graph = {name: imported_files(code, name, known) for name, code in planted.items()}
    assert circle(graph) == ["c", "d", "a.b", "c"]
    assert circle(graph | {"d": set()}) == []
