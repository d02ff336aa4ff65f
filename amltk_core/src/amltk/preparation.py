"""Passes the program's settings to a child process, as `multiprocessing` passes them to its own children.

    program                                             child
    child_command(function, fds)  ── a new process ──>  reads the preparation from the first of `fds`, sets `sys.path`
    preparation(...)              ── pipe, socket ──>   prepare(data)            the program's settings
                                                        become_child(data, ...)  its place in `multiprocessing`
    ProgramService.answer()       <── asks for ─────── the resource tracker, when a call first needs it

`marshal` encodes the preparation, so no module of the user's is imported to read it. Unlike a command line, it has no
limit of size. The names come from `multiprocessing.spawn`, which does the same.
"""

from __future__ import annotations

import contextlib
import itertools
import marshal
import os
import sys

TYPE_CHECKING = False  # importing `typing` would slow down each start of a worker
if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

Preparation = dict[str, "Any"]

# Before `sys.path` is the program's, only built-in modules are imported. The descriptors of the program may not block,
# as the sockets that gevent has replaced.
_BOOT = """\
import marshal, posix, sys
fds = [int(fd) for fd in sys.argv[1:]]
posix.set_blocking(fds[0], True)
def read(size):
    data = b""
    while len(data) < size:
        data += posix.read(fds[0], size - len(data)) or posix._exit(1)
    return data
data = marshal.loads(read(int.from_bytes(read(8), "little")))
sys.path[:] = data["path"]
from {module} import {function}
{function}(data, *fds)
"""

# The variables of the second line default to OMP_NUM_THREADS.
_THREADS = (
    ("OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS"),
    ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS"),
)


def original_directory() -> str | None:
    """Return the directory in which the program began, as far as amltk or `multiprocessing` saw it begin."""
    package: Any = sys.modules[__package__]
    found: str | None = package.began_in
    return found


def child_path() -> list[str]:
    """Return `sys.path` for a child, which may run in another directory.

    A relative entry, such as `''`, becomes the folder that it meant at the start of the program. If it means another
    folder now, that folder is added.
    """
    directories = [original_directory()]
    with contextlib.suppress(OSError):  # the directory was deleted
        directories.append(os.getcwd())  # noqa: PTH109 - `pathlib` takes long to import
    path: list[str] = []
    for entry in sys.path:
        if not isinstance(entry, str):  # Python ignores it, too
            continue
        if os.path.isabs(entry):  # noqa: PTH117
            path.append(str.__str__(entry))
            continue
        folders = [os.path.normpath(os.path.join(each, entry)) for each in directories if each]  # noqa: PTH118
        found = [each for each in dict.fromkeys(folders) if os.path.exists(each)]  # noqa: PTH110
        path += found or [str.__str__(entry)]  # for example, an entry of an import hook
    return path


def python_executable() -> str:
    """Return the interpreter for child processes: that of `multiprocessing.set_executable`, or `sys.executable`.

    Raises:
        RuntimeError: There is none: the program is frozen, or another program has embedded Python.
    """
    spawn = sys.modules.get("multiprocessing.spawn")
    chosen = os.fsdecode((spawn and spawn.get_executable()) or "")
    if chosen and chosen != sys.executable:
        return chosen
    if getattr(sys, "frozen", False):
        why = f"this program is frozen (sys.frozen), and {sys.executable!r} would start the program again"
    elif not sys.executable:
        why = f"sys.executable is {sys.executable!r}"
    elif not any(part in os.path.basename(sys.executable).lower() for part in ("py", "hython")):  # noqa: PTH119
        why = f"sys.executable is {sys.executable!r}, which by its name is a program that embeds Python"
    else:
        return sys.executable
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = f"{sys.exec_prefix}/bin/python{version}"
    msg = (
        f"Worker processes need a Python interpreter, but {why}. "
        f"Set the one to use: multiprocessing.set_executable({python!r}), or another Python {version} that has the "
        "same packages; or run calls in this process, by Scheduler.with_threads()."
    )
    raise RuntimeError(msg)


def child_command(function: str, *fds: int) -> list[str]:
    """Return the command of a fresh interpreter that calls a function with its preparation and `fds`.

    Args:
        function: The function, as `package.module:name`.
        fds: The descriptors that the child inherits. It reads the bytes of `preparation` from the first one.

    Raises:
        RuntimeError: There is no interpreter; see `python_executable`.
    """
    from subprocess import _args_from_interpreter_flags  # type: ignore[attr-defined] # as `multiprocessing` does

    module, _, name = function.partition(":")
    boot = _BOOT.format(module=module, function=name)
    # The names must not be in `__main__`, which belongs to the calls.
    return [python_executable(), *_args_from_interpreter_flags(), "-c", f"exec({boot!r}, {{}})", *map(str, fds)]


def numerical_threads(processors: int, max_workers: int) -> dict[str, str]:
    """Return environment variables that share the processors among `max_workers` processes, as joblib and dask do.

    Without them, numerical libraries start a thread for each processor in each process. Variables that are set already
    are not returned.
    """
    count = str(max(1, processors // max_workers))
    names = _THREADS[0] if os.environ.get("OMP_NUM_THREADS") else _THREADS[0] + _THREADS[1]
    return {name: count for name in names if not os.environ.get(name)}


def preparation(**more: Any) -> bytes:
    """Return the bytes that a child process reads first.

    Args:
        more: More entries of the preparation, of types that `marshal` supports.
    """
    data = marshal.dumps({**collect(), **more}, 4)
    return len(data).to_bytes(8, "little") + data


def collect() -> Preparation:
    """Return the settings of this process for a child, all of them plain data."""
    import logging

    from amltk.program_service import of_multiprocessing

    levels = {level for level in logging.getLevelNamesMapping().values() if isinstance(level, int)}
    return {
        "path": child_path(),
        "argv": [str.__str__(each) for each in getattr(sys, "argv", ()) if isinstance(each, str)],
        "directory": original_directory(),
        "multiprocessing": of_multiprocessing() if "multiprocessing.context" in sys.modules else None,
        "parent": os.getpid(),
        "recursion_limit": sys.getrecursionlimit(),
        "level_names": {int(level): str(logging.getLevelName(level)) for level in levels},
        "filters": _filters(),
    }


def prepare(data: Preparation) -> None:
    """Apply the program's settings, in a fresh interpreter, or in one that forks workers."""
    import logging

    sys.argv[:] = data["argv"]
    os.environ.update(data.get("environ", {}))
    with contextlib.suppress(RecursionError):  # the limit is lower than the current depth
        sys.setrecursionlimit(data["recursion_limit"])
    for level, name in data["level_names"].items():
        if logging.getLevelName(level) != name:
            logging.addLevelName(level, name)
    if "filters" in data:
        set_filters(data["filters"])
    if data["multiprocessing"]:  # otherwise few calls need it, and it is loaded on use
        import multiprocessing.context  # noqa: F401


def become_child(data: Preparation, number: int, service: int) -> None:
    """Give this process the state of a `multiprocessing` child: a name, a parent, the program's resource tracker.

    Args:
        data: The program's preparation, of `collect`.
        number: The number of this child among its siblings.
        service: See `amltk.program_service.ProgramService.for_workers`.
    """
    when_imported("multiprocessing.context", lambda context: _be_child(context, data, number, service))
    use_tracker_of_program(service)


def use_tracker_of_program(service: int) -> None:
    """Make this process use the program's resource tracker as soon as it needs one.

    Args:
        service: See `amltk.program_service.ProgramService.for_workers`.
    """

    def use(module: ModuleType) -> None:
        from amltk.program_service import use_tracker_of_program  # few calls need it

        use_tracker_of_program(module, service)

    when_imported("multiprocessing.resource_tracker", use)


def _be_child(context: Any, data: Preparation, number: int, service: int) -> None:
    process = context.process
    known = data["multiprocessing"]
    if known is None:
        from amltk.program_service import ask_of_multiprocessing  # few calls need it

        known = ask_of_multiprocessing(service) or ("MainProcess", None, None)
    name, key, start_method = known
    if util := sys.modules.get("multiprocessing.util"):  # in a fork, its state belongs to the parent
        util._finalizer_registry.clear()
        util._run_after_forkers()
    if forkserver := sys.modules.get("multiprocessing.forkserver"):  # likewise
        forkserver._forkserver.__init__()
    current = process.BaseProcess(name=f"worker-{os.getpid()}")
    current._identity = (number,)
    current._parent_pid, current._parent_name = data["parent"], name
    current._config.pop("daemon", None)  # calls may have children
    if key is not None:
        current.authkey = key
    process._children = set()
    process._process_counter = itertools.count(1)
    process._current_process = current
    process._parent_process = process._ParentProcess(name, data["parent"], service)
    package: Any = sys.modules[__package__]
    process.ORIGINAL_DIR = package.began_in = data["directory"]
    if start_method in context._concrete_contexts:  # not for a method that only a library, such as loky, has added
        context._default_context.set_start_method(start_method, force=True)


def _filters() -> list[tuple[Any, ...]]:
    import warnings

    # From Python 3.14 on, filters can belong to a context.
    filters: Iterable[tuple[Any, ...]] = getattr(warnings, "_get_filters", lambda: warnings.filters)()
    found = []
    for action, message, category, module, line in filters:
        with contextlib.suppress(TypeError):  # other code may have put something else there
            named = str(category.__module__), str(category.__name__)
            found.append((str(action), _pattern(message), named, _pattern(module), int(line)))
    return found


def _pattern(text: re.Pattern[str] | str | None) -> tuple[str, int] | str | None:
    if text is None or isinstance(text, str):
        return text
    if isinstance(text.pattern, str):
        return str.__str__(text.pattern), text.flags
    raise TypeError


def set_filters(filters: Iterable[tuple[Any, ...]]) -> None:
    """Replace the warning filters of this process by the `filters` of a preparation."""
    import warnings

    warnings.resetwarnings()  # also clears what warnings have cached about filters
    warnings.filters.extend(  # type: ignore[attr-defined]
        (action, _compiled(message), _category(*named), _compiled(module), line)
        for action, message, named, module, line in filters
    )


def _compiled(pattern: tuple[str, int] | str | None) -> re.Pattern[str] | str | None:
    if not isinstance(pattern, tuple):
        return pattern
    import re

    return re.compile(*pattern)


class _Named(type):
    """The type of a category that represents one of the same name, without importing it."""

    def __subclasscheck__(cls, subclass: type) -> bool:
        return any((each.__module__, each.__name__) == (cls.__module__, cls.__name__) for each in subclass.__mro__)


def _category(module: str, name: str) -> type[Warning]:
    import builtins

    if module == "builtins":
        found: type[Warning] = getattr(builtins, name)
        return found
    stands_for: Any = _Named(name, (Warning,), {"__module__": module})
    named: type[Warning] = stands_for
    return named


def when_imported(name: str, function: Callable[[Any], object]) -> None:
    """Call a function with a module: now, or right after its import."""
    if module := sys.modules.get(name):
        function(module)
    else:
        sys.meta_path.insert(0, _OnImport(name, function))


class _OnImport:
    """Finds one module, as Python itself does, and calls a function after its import."""

    def __init__(self, name: str, function: Callable[[Any], object]) -> None:
        self._name = name
        self._function = function

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        from importlib.machinery import PathFinder

        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        loader: Any = spec and spec.loader
        if loader is not None:
            run = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                run(module)
                self._function(module)

            loader.exec_module = exec_module
        return spec
