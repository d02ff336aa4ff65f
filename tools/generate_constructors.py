"""Write `constructors.pyi`: the declarations of `Scheduler.with_<name>` of our own backends, for type checkers.

    python tools/generate_constructors.py            # writes it
    python tools/generate_constructors.py --check    # fails if it is not up to date, and shows the difference

The backends of this repository must be installed: their signatures are read from them.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import difflib
import inspect
import json
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from amltk.plugins import plugin_manager
from amltk.plugins.entry_points import BACKENDS

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / "amltk_core" / "src" / "amltk" / "scheduling" / "constructors.pyi"
HEAD = "# Written by tools/generate_constructors.py from the backends of this repository; do not edit.\n"


class CannotDeclareError(Exception):
    """A signature that can't be declared in a stub of the core."""


def our_backends() -> list[str]:
    """Return the names of the backends in this repository, by the entry points of their distributions."""
    projects = sorted((ROOT / "amltk_backends").glob("*/pyproject.toml"))
    entry_points = [tomllib.loads(p.read_text(encoding="utf-8"))["project"].get("entry-points", {}) for p in projects]
    return [name for groups in entry_points for name in groups.get(BACKENDS, ())]


def stub(constructors: Iterable[tuple[str, type]]) -> str:
    """Return the stub for these names and classes of backends."""
    imports = {("typing", "Self")}
    methods: list[str] = []
    for name, backend in constructors:
        methods.append(declare(name, backend))
        imports.update(needed_imports(backend))
    return f"{HEAD}\n{write_imports(imports)}\nclass Constructors:\n{''.join(methods)}"


def declare(name: str, backend: type) -> str:
    """Return the declaration of one constructor."""
    parameters = list(inspect.signature(backend).parameters.values())
    written = ["cls"]
    for number, parameter in enumerate(parameters):
        before = parameters[number - 1].kind if number else None
        if before is parameter.POSITIONAL_ONLY is not parameter.kind:
            written.append("/")
        if parameter.kind is parameter.KEYWORD_ONLY and before not in {
            parameter.KEYWORD_ONLY,
            parameter.VAR_POSITIONAL,
        }:
            written.append("*")
        stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else stars
        written.append(f"{stars}{parameter.name}: {annotation_of(name, parameter)}{default_of(parameter)}")
    if parameters and parameters[-1].kind is inspect.Parameter.POSITIONAL_ONLY:
        written.append("/")
    head = f"    @classmethod\n    def with_{name}("
    if len(written) == 1:
        return f"{head}cls) -> Self: ...\n"
    return head + "".join(f"\n        {each}," for each in written) + "\n    ) -> Self: ...\n"


def annotation_of(name: str, parameter: inspect.Parameter) -> str:
    """Return the annotation of a parameter, as written in the source."""
    if not isinstance(parameter.annotation, str):
        msg = (
            f"{parameter.name} of with_{name} has no annotation, or one that is no text: annotate it, in a module with "
            "`from __future__ import annotations`."
        )
        raise CannotDeclareError(msg)
    return parameter.annotation


def default_of(parameter: inspect.Parameter) -> str:
    """Return ` = ` and the default of a parameter, if it is simple enough for a stub."""
    if parameter.default is parameter.empty:
        return ""
    if isinstance(parameter.default, str):
        return f" = {json.dumps(parameter.default)}"  # in the quotes of the formatter
    simple = parameter.default in {None, ()} or type(parameter.default) in {bool, int, float}
    return f" = {parameter.default!r}" if simple else " = ..."


def needed_imports(backend: type) -> Iterator[tuple[str, str]]:
    """Yield module and name of each import that the annotations of a constructor need; the name is "" for a module.

    Raises:
        CannotDeclareError: An import is from neither the standard library nor the core.
    """
    imported: dict[str, tuple[str, str]] = {}
    for base in reversed(backend.__mro__):  # a base class may have options of its own
        if base is not object and "__init__" in vars(base):
            source = inspect.getsourcefile(vars(base)["__init__"])
            assert source is not None
            imported |= imports_of(Path(source))
    annotations = [annotation_of(backend.__name__, each) for each in inspect.signature(backend).parameters.values()]
    nodes = [node for text in annotations for node in ast.walk(ast.parse(text, mode="eval"))]
    for used in sorted({node.id for node in nodes if isinstance(node, ast.Name)} - set(dir(builtins))):
        module, name = imported.get(used, ("", ""))
        if module.partition(".")[0] not in {*sys.stdlib_module_names, "amltk"} or used not in {name, module}:
            msg = (
                f"An annotation of {backend.__qualname__} in {backend.__module__} uses {used}. A stub of the core "
                "may import only from the standard library and the core, without renaming; write Any for "
                "anything else."
            )
            raise CannotDeclareError(msg)
        yield module, name


def imports_of(source: Path) -> dict[str, tuple[str, str]]:
    """Return the imports of a module: the local name, with module and original name."""
    imported: dict[str, tuple[str, str]] = {}
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            imported |= {alias.asname or alias.name: (node.module or "", alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            imported |= {alias.asname or alias.name.partition(".")[0]: (alias.name, "") for alias in node.names}
    return imported


def write_imports(imports: Iterable[tuple[str, str]]) -> str:
    """Return import statements, in the order of the linter."""
    by_module: dict[str, list[str]] = {}
    for module, name in sorted(set(imports)):
        by_module.setdefault(module, []).append(name)
    whole = [f"import {module}\n" for module, names in by_module.items() if "" in names]
    parts = {module: ", ".join(name for name in names if name) for module, names in by_module.items()}
    lines = {module: f"from {module} import {names}\n" for module, names in parts.items() if names}
    others = [line for module, line in lines.items() if module.partition(".")[0] != "amltk"]
    ours = [line for module, line in lines.items() if module.partition(".")[0] == "amltk"]
    return "".join([*whole, *others, *(["\n", *ours] if ours else [])])


def main(arguments: list[str] | None = None) -> int:
    """Write the stub, or check it."""
    parser = argparse.ArgumentParser(description="Write constructors.pyi from the backends of this repository.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the stub is not up to date")
    check = parser.parse_args(arguments).check
    manager = plugin_manager()
    text = stub((name, manager.backend(name)) for name in our_backends())
    before = STUB.read_text(encoding="utf-8") if STUB.is_file() else ""
    if before == text:
        return 0
    if not check:
        STUB.write_text(text, encoding="utf-8")
        return 0
    old, new = before.splitlines(keepends=True), text.splitlines(keepends=True)
    sys.stderr.writelines(difflib.unified_diff(old, new, str(STUB), "the stub for the installed backends"))
    sys.stderr.write(f"{STUB} is not up to date. Write it: python tools/generate_constructors.py\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
