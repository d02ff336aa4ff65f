"""What later Pythons allow in a script works in a worker: annotations of nobody's names, aliases, lazy imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("amltk_processes")

SINCE_3_14 = """
import typing

from amltk_processes import ProcessPoolExecutor

if typing.TYPE_CHECKING:
    from nowhere import Table

def read(table: Table, rows: list[Table] | None = None) -> Table:
    return table

class Reader:
    table: Table
    rows: int

    def read(self, table: Table) -> "Reader":
        return self

type Vector = list[float]

class Box[T]:
    def get(self, value: T) -> T:
        return value

def hints():
    return typing.get_type_hints(Box.get)["value"].__name__, Reader.__annotations__, read.__annotations__["table"]

with ProcessPoolExecutor(1) as executor:
    print(executor.submit(read, 3).result(), type(executor.submit(Reader().read, 3).result()) is Reader)
    print(*executor.submit(hints).result())
    print(executor.submit(lambda: Vector.__value__).result(), executor.submit(lambda: Box[int]().get(4)).result())
try:
    Reader.__annotations__
except NameError:
    print("the program's own are still not evaluated")
"""
SINCE_3_14_PRINTS = """\
3 True
T {'table': 'Table', 'rows': <class 'int'>} Table
list[float] 4
the program's own are still not evaluated
"""

SINCE_3_15 = """
import sys
lazy import decimal as d
lazy from fractions import Fraction as F
lazy import xml.dom.minidom
lazy import nowhere

from amltk_processes import ProcessPoolExecutor

MISSING = sentinel("MISSING")

def compute(x, y=MISSING):
    if x < 0:
        return nowhere.answer
    return str(d.Decimal(x) + 1), str(F(x, 2)), xml.dom.__name__, y is MISSING

with ProcessPoolExecutor(1) as executor:
    print(*executor.submit(compute, 1).result(), executor.submit(lambda: MISSING).result() is MISSING)
    print(executor.submit(compute, 1, MISSING).result()[-1], type(executor.submit(compute, -1).exception()).__name__)
print([name for name in ("decimal", "fractions", "xml.dom") if name in sys.modules])
"""
SINCE_3_15_PRINTS = """\
2 1/2 xml.dom True True
True ModuleNotFoundError
[]
"""


@pytest.mark.parametrize(
    ("since", "script", "prints"),
    [((3, 14), SINCE_3_14, SINCE_3_14_PRINTS), ((3, 15), SINCE_3_15, SINCE_3_15_PRINTS)],
    ids=["3.14", "3.15"],
)
def test_a_script_of_a_new_python(tmp_path: Path, since: tuple[int, int], script: str, prints: str) -> None:
    if sys.version_info < since:
        pytest.skip("Its script can't be parsed by this Python.")
    path = tmp_path / "script.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.stderr) == (prints, "")
