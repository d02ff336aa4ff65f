"""What several of the core's test files use."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from amltk import events
from amltk.plugins import plugin_manager


class ManualExecutor(Executor):
    """An executor whose calls end when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append((future, fn, args, kwargs))
        return future

    def start(self, index: int = 0) -> Future[Any]:
        """Let a worker take up a call."""
        future = self.calls[index][0]
        assert future.set_running_or_notify_cancel()
        return future

    def finish(self, index: int = 0) -> None:
        """Take up a call, if it has not been, and do it."""
        future, fn, args, kwargs = self.calls[index]
        if not future.running():
            self.start(index)
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)


@pytest.fixture
def manual() -> ManualExecutor:
    return ManualExecutor()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


class Site:
    """A folder of distributions that Python takes for installed ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def add(
        self,
        distribution: str,
        code: str | None,
        *,
        backends: str = "",
        observers: str = "",
        module: str = "",
        metadata: bool = True,
    ) -> str:
        """Add a distribution with one module of this `code`, and return the module's name.

        `backends` and `observers` are the lines below `[amltk]` and `[amltk.observers]` of its entry points, in which
        `@` stands for the module; a line without `=` is a name for the module itself.
        """
        module = module or distribution.replace("-", "_")
        if code is not None:
            (self.folder / f"{module}.py").write_text(textwrap.dedent(code), encoding="utf-8")
            self.modules.append(module)
        info = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines: list[str] = []
        for group, names in (("amltk", backends), ("amltk.observers", observers)):
            entries = [line if "=" in line else f"{line} = @" for line in names.split("\n") if line]
            lines += [f"[{group}]", *entries] if entries else []
        (info / "entry_points.txt").write_text("\n".join(lines).replace("@", module) + "\n")
        return module

    def run(self, code: str, *options: str, **environ: str) -> str:
        """Run `code` in a process of its own that has this folder on its path; return what it prints."""
        done = subprocess.run(
            [sys.executable, *options, "-c", textwrap.dedent(code)],
            env={**os.environ, "PYTHONPATH": str(self.folder), **environ},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A folder for fake distributions, on the path of this process too, in which no plugin was loaded so far."""
    site = Site(tmp_path / "site")
    site.folder.mkdir()
    monkeypatch.syspath_prepend(site.folder)
    monkeypatch.setattr(events, "observer", None)
    plugin_manager.cache_clear()
    yield site
    plugin_manager.cache_clear()
    for module in site.modules:
        sys.modules.pop(module, None)
