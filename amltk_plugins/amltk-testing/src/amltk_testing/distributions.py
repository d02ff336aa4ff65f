"""Fake distributions, which Python takes for installed ones."""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from amltk.plugins import reset_plugins
from amltk.plugins.entry_points import BACKENDS, COMMANDS, OBSERVERS, SCHEDULER_PLUGINS, TASK_PLUGINS

if TYPE_CHECKING:
    from typing import Self


class FakeSite:
    """A folder of distributions. In its `with` block it is on the path, and no plugin has been loaded so far."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`, which is made if it is not there."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        sys.path.insert(0, str(self.folder))
        importlib.invalidate_caches()
        reset_plugins()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        sys.path.remove(str(self.folder))
        importlib.invalidate_caches()
        reset_plugins()
        for name, module in list(sys.modules.items()):
            if (getattr(module, "__file__", None) or "").startswith(f"{self.folder}{os.sep}"):
                del sys.modules[name]

    def add(
        self,
        distribution: str,
        code: str | None,
        *,
        backends: str = "",
        task_plugins: str = "",
        scheduler_plugins: str = "",
        observers: str = "",
        commands: str = "",
        module: str = "",
        metadata: bool = True,
    ) -> str:
        """Add a distribution with one module of this `code`, and return the module's name.

        Args:
            distribution: Its name; its version is 1.0.
            code: The module's text; None leaves the module out.
            backends: The lines below `[amltk.backends]` of its entry points, as in `mine = @:Mine`. `@` stands for
                the module; a line without `=` is a name for the module itself, as observers have it.
            task_plugins: Likewise, below `[amltk.task_plugins]`.
            scheduler_plugins: Likewise, below `[amltk.scheduler_plugins]`.
            observers: Likewise, below `[amltk.observers]`.
            commands: Likewise, below `[amltk.commands]`.
            module: The module's name; by default that of the distribution, with `_`.
            metadata: Whether it has a name and a version; the folder of an incomplete uninstallation has none.
        """
        module = module or distribution.replace("-", "_")
        if code is not None:
            (self.folder / f"{module}.py").write_text(textwrap.dedent(code), encoding="utf-8")
        info = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        if metadata:
            text = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
            (info / "METADATA").write_text(text, encoding="utf-8")
        lines: list[str] = []
        groups = {
            BACKENDS: backends,
            TASK_PLUGINS: task_plugins,
            SCHEDULER_PLUGINS: scheduler_plugins,
            OBSERVERS: observers,
            COMMANDS: commands,
        }
        for group, names in groups.items():
            entries = [line if "=" in line else f"{line} = @" for line in names.split("\n") if line]
            lines += [f"[{group}]", *entries] if entries else []
        (info / "entry_points.txt").write_text("\n".join(lines).replace("@", module) + "\n", encoding="utf-8")
        return module

    def run(self, code: str, *options: str, **environ: str) -> str:
        """Run `code` in a Python process of its own that has this folder on its path; return what it prints.

        Args:
            code: What is run; it may be indented.
            *options: Of the interpreter.
            **environ: Environment variables to add.

        Raises:
            AssertionError: It failed; with what it wrote to stderr.
        """
        done = subprocess.run(
            [sys.executable, *options, "-c", textwrap.dedent(code)],
            env={**os.environ, "PYTHONPATH": str(self.folder), **environ},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        if done.returncode != 0:
            raise AssertionError(done.stderr)
        return done.stdout


@contextlib.contextmanager
def fake_distribution(
    distribution: str,
    code: str,
    *,
    backends: str = "",
    task_plugins: str = "",
    scheduler_plugins: str = "",
    observers: str = "",
    commands: str = "",
) -> Iterator[str]:
    """Have a distribution as if it were installed, in a `with` block, which gets its module's name.

    Example:
        ```python
        with fake_distribution("amltk-mine", CODE, backends="mine = @:Mine"):
            Scheduler.with_mine()
        ```

    Args:
        distribution: Its name; its module's name is that with `_`.
        code: The module's text.
        backends: The lines below `[amltk.backends]` of its entry points, as in `mine = @:Mine`. `@` stands for the
            module; a line without `=` is a name for the module itself, as observers have it.
        task_plugins: Likewise, below `[amltk.task_plugins]`.
        scheduler_plugins: Likewise, below `[amltk.scheduler_plugins]`.
        observers: Likewise, below `[amltk.observers]`.
        commands: Likewise, below `[amltk.commands]`.
    """
    with tempfile.TemporaryDirectory() as folder, FakeSite(Path(folder)) as site:
        yield site.add(
            distribution,
            code,
            backends=backends,
            task_plugins=task_plugins,
            scheduler_plugins=scheduler_plugins,
            observers=observers,
            commands=commands,
        )
