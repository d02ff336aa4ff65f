"""Keeps who may import whom; `docs/architecture.md` says why."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "amltk_core" / "src" / "amltk"
OTHERS = sorted(p.parent for p in ROOT.glob("amltk_[bp]*/*/pyproject.toml"))
SOURCES = [CORE.parent, *(folder / "src" for folder in OTHERS)]

# Imports go down or, without going in circles, sideways. The packages that only offer names stand with the scheduler.
FLOORS = [
    {
        "amltk.describe",
        "amltk.checks",
        "amltk.cpus",
        "amltk.descriptors",
        "amltk.exceptions",
        "amltk.forks",
        "amltk.plugins.catalog",
        "amltk.plugins.entry_points",
        "amltk.preparation",
        "amltk.program_service",
        "amltk.requeue",
        "amltk.user_code",
    },
    {"amltk.backend", "amltk.executors", "amltk.events", "amltk.hookspecs", "amltk.remote"},
    {
        "amltk.plugins",
        "amltk.scheduling.answered",
        "amltk.scheduling.attaching",
        "amltk.scheduling.blocking",
        "amltk.scheduling.loop",
        "amltk.scheduling.main_thread",
        "amltk.scheduling.call_future",
        "amltk.scheduling.call_plugin",
        "amltk.scheduling.deliveries",
        "amltk.scheduling.exit_state",
        "amltk.scheduling.failures",
        "amltk.scheduling.inbox",
        "amltk.scheduling.interrupt",
        "amltk.scheduling.pending",
        "amltk.scheduling.exception_policy",
        "amltk.scheduling.rerun",
        "amltk.scheduling.run_calls",
        "amltk.scheduling.scheduler_events",
        "amltk.scheduling.scheduler_plugin",
        "amltk.scheduling.submission",
        "amltk.scheduling.map_feeder",
        "amltk.scheduling.task_events",
        "amltk.scheduling.task_plugin",
        "amltk.scheduling.view",
    },
    {
        "amltk.scheduling.callbacks",
        "amltk.scheduling.constructors",
        "amltk.scheduling.executor_source",
        "amltk.scheduling.launching",
        "amltk.scheduling.run",
        "amltk.scheduling.task",
    },
    {"amltk", "amltk.scheduling", "amltk.scheduling.scheduler"},
    {"amltk.__main__", "amltk.cli", "amltk.display", "amltk.doctor"},
]

# Upwards, inside a function: what is printed or shown loads rich, what is not does not.
UPWARDS = {("amltk.scheduling.scheduler", "amltk.display"), ("amltk.scheduling.task", "amltk.display")}

# Imports inside a function that close a circle of modules, and why they stay there.
LATE = {
    **dict.fromkeys(UPWARDS, "see above"),
    ("amltk.remote.script", "amltk.remote.by_value"): "only a worker's own pool needs cloudpickle's module there",
}

# Typing-only imports that close a circle of modules: what a user reaches from a future, a plugin or a hook is the
# `Task` and the `Scheduler` themselves, with all their methods; and what these consist of refers back to them.
BACK_REFERENCES = {
    ("amltk.hookspecs", "amltk.scheduling.scheduler"): "hooks receive it",
    ("amltk.hookspecs", "amltk.scheduling.task"): "hooks receive it",
    ("amltk.plugins.hooks", "amltk.scheduling.scheduler"): "hooks receive it",
    ("amltk.plugins.hooks", "amltk.scheduling.task"): "hooks receive it",
    ("amltk.scheduling.attaching", "amltk.scheduling.scheduler"): "sets `plugin.scheduler`",
    ("amltk.scheduling.attaching", "amltk.scheduling.task"): "sets `plugin.task`",
    ("amltk.scheduling.call_future", "amltk.scheduling.task"): "`future.task`",
    ("amltk.scheduling.map_feeder", "amltk.scheduling.task"): "submits its calls",
    ("amltk.scheduling.pending", "amltk.scheduling.scheduler"): "emits its events",
    ("amltk.scheduling.pending", "amltk.scheduling.task"): "emits its events",
    ("amltk.scheduling.run", "amltk.scheduling.scheduler"): "emits its events",
    ("amltk.scheduling.run_calls", "amltk.scheduling.scheduler"): "has the plugins that are asked",
    ("amltk.scheduling.scheduler_plugin", "amltk.scheduling.scheduler"): "`plugin.scheduler`",
    ("amltk.scheduling.submission", "amltk.scheduling.task"): "has the plugins that are asked",
    ("amltk.scheduling.task", "amltk.scheduling.scheduler"): "`task.scheduler`",
    ("amltk.scheduling.task_plugin", "amltk.scheduling.task"): "`plugin.task`",
}

MOST_LINES = 350
MOST_GENERATED_LINES = 500
GENERATED = {"constructors.pyi"}

# What the core offers in another distribution's name, for type checkers: `from amltk import CallLimiter` works with it.
OFFERED = {
    ("amltk", "amltk_call_limiter"),
    ("amltk", "amltk_pynisher"),
    ("amltk", "amltk_retry"),
    ("amltk", "amltk_timeout"),
    ("amltk.scheduling", "amltk_sequential"),
}

# The only places of the core that import something from elsewhere.
ELSEWHERE = {
    "cloudpickle": {"amltk.remote"},
    "packaging": {"amltk.doctor"},
    "pluggy": {"amltk.hookspecs", "amltk.plugins"},
    "psutil": {"amltk.remote"},
    "rich": {"amltk.display"},
}

# What those who write backends and plugins build on; ours have no more than they have.
PUBLIC = {
    "amltk",
    "amltk.backend",
    "amltk.describe",
    "amltk.checks",
    "amltk.cpus",
    "amltk.remote.worker_exit",
    "amltk.events",
    "amltk.exceptions",
    "amltk.descriptors",
    "amltk.forks",
    "amltk.hookspecs",
    "amltk.plugins",
    "amltk.plugins.catalog",
    "amltk.plugins.entry_points",
    "amltk.preparation",
    "amltk.program_service",
    "amltk.remote",
    "amltk.remote.executor",
    "amltk.remote.process_tree",
    "amltk.remote.worker_errors",
    "amltk.scheduling",
    "amltk.requeue",
    "amltk.user_code",
}


# The standard library, with what it has from Python 3.14 on.
STANDARD = sys.stdlib_module_names | {"annotationlib"}

# Distributions whose package has another name.
IMPORTED_AS = {"apache-airflow-client": "airflow_client"}

# Files of others: Airflow imports the first, and `amltk new` makes the rest into a distribution of its own.
FOR_OTHERS = {
    "amltk_dag.py": {"airflow"},
    "plugin_init.py": {"amltk_newname"},
    "plugin_tests.py": {"amltk_newname"},
}


class Import(NamedTuple):
    line: int
    module: str
    name: str | None
    typing_only: bool


def imports(path: Path) -> Iterator[Import]:
    """Every import in a file, wherever it stands; `typing_only` if no run of the program gets there."""

    def walk(node: ast.AST, *, typing_only: bool) -> Iterator[Import]:
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
                for child in node.body:
                    yield from walk(child, typing_only=True)
                for child in node.orelse:
                    yield from walk(child, typing_only=typing_only)
                return
            case ast.Import():
                for alias in node.names:
                    yield Import(node.lineno, alias.name, None, typing_only)
            case ast.ImportFrom():
                assert node.level == 0, f"{path}:{node.lineno}: imports here are absolute"
                for alias in node.names:
                    yield Import(node.lineno, node.module or "", alias.name, typing_only)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, typing_only=typing_only)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), typing_only=False)


def module_of(path: Path, src: Path) -> str:
    return ".".join(path.relative_to(src).with_suffix("").parts).removesuffix(".__init__")


def modules_in(src: Path) -> dict[str, Path]:
    """The modules below a folder. The templates of `amltk new` are no modules."""
    return {module_of(path, src): path for path in sorted(src.rglob("*.py")) if "templates" not in path.parts}


MODULES = modules_in(CORE.parent)


def target_of(imported: Import, modules: Iterable[str] = MODULES) -> str:
    """`from amltk import events` means the module `amltk.events`."""
    module = f"{imported.module}.{imported.name}"
    return module if module in modules else imported.module


def room_of(module: str) -> str:
    """The module or package that has a place on a floor: `amltk.display.live` belongs to `amltk.display`."""
    rooms = set().union(*FLOORS)
    while module not in rooms and "." in module:
        module = module.rpartition(".")[0]
    return module


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def is_ours(module: str) -> bool:
    return module == "amltk" or module.startswith("amltk.")


@pytest.mark.parametrize("module", MODULES)
def test_each_module_of_the_core_has_its_floor(module):
    assert room_of(module) not in {"amltk", "amltk.scheduling"} or module in {"amltk", "amltk.scheduling"}, (
        f"{module} is new: put it on a floor of FLOORS"
    )


def test_floors_name_only_what_exists():
    assert set().union(*FLOORS) == {room_of(module) for module in MODULES}


def test_floors_are_those_of_the_documentation():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d?) ?\| (`[^|]*`) \|", page.partition("| floor |")[2].partition("\n\n")[0], re.MULTILINE)
    documented, floor = {}, ""
    for number, names in rows:
        floor = number or floor
        documented |= dict.fromkeys(re.findall(r"`([\w.]+)`", names), int(floor))
    unnamed = {"amltk", "amltk.__main__"}
    floors = {room.removeprefix("amltk."): number for number, rooms in enumerate(FLOORS, 1) for room in rooms - unnamed}
    assert documented == floors


@pytest.mark.parametrize("module", MODULES)
def test_the_core_imports_downwards(module):
    room = room_of(module)
    for imported in imports(MODULES[module]):
        target = room_of(target_of(imported))
        if not is_ours(target) or imported.typing_only or (room, target) in UPWARDS:
            continue
        assert floor_of(target) <= floor_of(room), f"{MODULES[module]}:{imported.line}: {room} imports {target}, above"


def test_the_core_imports_in_no_circle():
    graph: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        room = room_of(module)
        targets = {room_of(target_of(imported)) for imported in imports(path) if not imported.typing_only}
        graph[room] = graph.get(room, set()) | {t for t in targets if is_ours(t) and (room, t) not in UPWARDS} - {room}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("src", SOURCES, ids=lambda src: src.parent.name)
def test_modules_import_in_no_circle_not_even_for_types(src):
    modules = modules_in(src)
    excepted = LATE.keys() | BACK_REFERENCES.keys()
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        targets = {target_of(imported, modules) for imported in imports(path)}
        graph[module] = {t for t in targets - {module} if t in modules and (module, t) not in excepted}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize(("module", "target"), BACK_REFERENCES)
def test_a_back_reference_is_for_types_only(module, target):
    found = [imported for imported in imports(MODULES[module]) if target_of(imported) == target]
    assert found, f"{module} does not import {target}: take it out of BACK_REFERENCES"
    assert all(imported.typing_only for imported in found)


@pytest.mark.parametrize(("module", "target"), sorted(LATE))
def test_a_late_import_is_inside_of_a_function(module, target):
    assert target in {target_of(imported) for imported in imports(MODULES[module])}
    top = ast.parse(MODULES[module].read_text(encoding="utf-8")).body
    at_top = [
        Import(n.lineno, n.module or "", a.name, False) for n in top if isinstance(n, ast.ImportFrom) for a in n.names
    ]
    assert target not in {target_of(imported) for imported in at_top}


@pytest.mark.parametrize("src", SOURCES, ids=lambda src: src.parent.name)
def test_no_module_is_too_long_to_read(src):
    too_long = {}
    for path in sorted([*src.rglob("*.py"), *src.rglob("*.pyi")]):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > (MOST_GENERATED_LINES if path.name in GENERATED else MOST_LINES):
            too_long[path.relative_to(src).as_posix()] = lines
    assert not too_long, f"{too_long}: move a whole story out of it, into a module of its own"


@pytest.mark.parametrize("module", MODULES)
def test_the_core_imports_others_only_in_their_place(module):
    for imported in imports(MODULES[module]):
        top = imported.module.split(".")[0]
        where = f"{MODULES[module]}:{imported.line}"
        if top.startswith("amltk_"):
            assert imported.typing_only, where
            assert (module, top) in OFFERED, f"{where}: the core knows no {top}"
        elif not is_ours(top) and top not in STANDARD:
            assert room_of(module) in ELSEWHERE.get(top, ()), f"{where}: {top} is not for {module}"


@pytest.mark.parametrize("folder", OTHERS, ids=lambda folder: folder.name)
def test_others_import_what_is_public_and_what_they_depend_on(folder):
    needs = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    names = (re.split(r"[^\w-]", need)[0] for need in needs)
    needed = {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}
    own = folder.name.replace("-", "_")
    for path in sorted((folder / "src").rglob("*.py")):
        for imported in imports(path):
            top, where = imported.module.split(".")[0], f"{path}:{imported.line}"
            if is_ours(top):
                target = target_of(imported)
                assert target in PUBLIC, f"{where}: {target} is not for use outside the core"
                assert not (imported.name or "").startswith("_"), f"{where}: {imported.name} is private"
            elif top != own and top not in STANDARD:
                assert top in needed | FOR_OTHERS.get(path.name, set()), (
                    f"{where}: {folder.name} does not depend on {top}"
                )


def test_importing_amltk_loads_nothing_that_is_not_needed():
    code = "import sys; before = set(sys.modules); import amltk; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    loaded = done.stdout.split()
    assert "amltk" in loaded
    dear = re.compile(r"(rich|pluggy|amltk_\w+|importlib\.metadata)(\.|$)")
    assert [module for module in loaded if dear.match(module)] == []
