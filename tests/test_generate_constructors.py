"""The generator of the constructors that type checkers know, and that what it wrote is up to date."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "tools" / "generate_constructors.py"


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate_constructors", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def write(tmp_path):
    """Return a function that makes a module of some source, in which `create` takes the options of a backend."""

    def make(source):
        path = tmp_path / "their_plugin.py"
        path.write_text(source, encoding="utf-8")
        spec = importlib.util.spec_from_file_location("their_plugin", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return type("Thing", (), {"__init__": module.create})

    return make


def test_what_is_written_is_up_to_date(generator, capsys):
    assert generator.main(["--check"]) == 0, capsys.readouterr().err


def test_all_our_backends_are_declared(generator):
    names = generator.our_backends()
    assert {"processes", "sequential", "threads"} <= set(names)
    text = generator.STUB.read_text(encoding="utf-8")
    for name in names:
        assert f"def with_{name}(" in text


def test_a_stub_that_is_not_up_to_date_fails_the_check_shows_why_and_is_mended(
    generator, tmp_path, monkeypatch, capsys
):
    right = generator.STUB.read_text(encoding="utf-8")
    stub = tmp_path / "constructors.pyi"
    stub.write_text(right.replace("with_threads", "with_thread"), encoding="utf-8")
    monkeypatch.setattr(generator, "STUB", stub)
    assert generator.main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "-    def with_thread(\n+    def with_threads(\n" in said
    assert said.endswith("Write it: python tools/generate_constructors.py\n")
    assert "with_threads" not in stub.read_text(encoding="utf-8")

    assert generator.main([]) == 0
    assert stub.read_text(encoding="utf-8") == right
    assert generator.main(["--check"]) == 0

    stub.unlink()
    assert generator.main(["--check"]) == 1
    assert not stub.exists()


def test_every_kind_of_parameter_and_default(generator, write):
    backend = write("""
from __future__ import annotations
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from amltk.backend import Backend
if TYPE_CHECKING:
    from fractions import Fraction

def create(
    self, n: int, /, text: str = 'a "b"', folder: str | Path | os.PathLike[str] = Path(), *more: Fraction,
    flag: bool = True, backend: Backend | None = None, make: Callable[..., Mapping[str, Any]] = dict, **options: object
) -> None: ...
""")
    assert generator.stub([("thing", backend)]) == (
        generator.HEAD
        + """
import os
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from amltk.backend import Backend

class Constructors:
    @classmethod
    def with_thing(
        cls,
        n: int,
        /,
        text: str = "a \\"b\\"",
        folder: str | Path | os.PathLike[str] = ...,
        *more: Fraction,
        flag: bool = True,
        backend: Backend | None = None,
        make: Callable[..., Mapping[str, Any]] = ...,
        **options: object,
    ) -> Self: ...
"""
    )


def test_keyword_only_and_positional_only_marks(generator, write):
    backend = write("from __future__ import annotations\ndef create(self, a: int, /, *, b: int): ...\n")
    assert "cls,\n        a: int,\n        /,\n        *,\n        b: int,\n" in generator.declare("thing", backend)
    backend = write("from __future__ import annotations\ndef create(self, a: int, /): ...\n")
    assert generator.declare("thing", backend).endswith("a: int,\n        /,\n    ) -> Self: ...\n")
    backend = write("def create(self): ...\n")
    assert generator.declare("thing", backend) == "    @classmethod\n    def with_thing(cls) -> Self: ...\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def create(self, a): ...", "a of with_thing has no annotation"),
        ("def create(self, a: int): ...", "a of with_thing has no annotation, or one that is no text"),
        (
            "from __future__ import annotations\nif 0:\n    from dask import Client\ndef create(self, a: Client): ...",
            "uses Client",
        ),
        ("from __future__ import annotations\nMine = int\ndef create(self, a: Mine): ...", "uses Mine"),
        ("from __future__ import annotations\nimport typing as t\ndef create(self, a: t.Any): ...", "uses t"),
    ],
)
def test_what_a_stub_of_the_core_cannot_say_is_refused(generator, write, source, said):
    with pytest.raises(generator.CannotDeclareError, match=said):
        generator.stub([("thing", write(source))])


def test_it_is_a_command():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=50, check=False, cwd="/"
    )
    assert (done.returncode, done.stderr) == (0, "")
