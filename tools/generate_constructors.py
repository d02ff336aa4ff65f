"""Write `constructors.pyi`: what type checkers know of `Scheduler.with_<name>` for our own backends.

    python tools/generate_constructors.py            # writes it
    python tools/generate_constructors.py --check    # fails if it is not up to date

The backends of this repository have to be installed: their signatures are read from them.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from amltk.plugins import plugin_manager

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / "amltk_core" / "src" / "amltk" / "scheduling" / "constructors.pyi"
HEAD = '''\
# Written by tools/generate_constructors.py from the backends of this repository; do not edit.
"""`Scheduler.with_<name>` of our own backends, declared for type checkers."""

from collections.abc import Callable
from typing import Any, Self

class Constructors:
'''


def our_backends() -> list[str]:
    """Return the names of the backends in this repository, by the entry points of their distributions."""
    import tomllib

    names: list[str] = []
    for project in sorted((ROOT / "amltk_backends").glob("*/pyproject.toml")):
        names += tomllib.loads(project.read_text(encoding="utf-8"))["project"]["entry-points"]["amltk"]
    return names


def declare(name: str) -> str:
    """Return the declaration of one constructor."""
    create = plugin_manager().backend(name).create
    lines = ["    @classmethod", f"    def with_{name}(", "        cls,"]
    star_said = False
    for parameter in inspect.signature(create).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star_said:
            lines.append("        *,")
            star_said = True
        stars = {parameter.VAR_KEYWORD: "**", parameter.VAR_POSITIONAL: "*"}.get(parameter.kind, "")
        default = " = ..." if parameter.default is not parameter.empty else ""
        lines.append(f"        {stars}{parameter.name}: {parameter.annotation}{default},")
    lines += ["    ) -> Self:", f'        """{(inspect.getdoc(create) or "").partition(chr(10))[0]}"""', ""]
    return "\n".join(lines)


def main() -> int:
    """Write the stub, or check it."""
    text = HEAD + "\n".join(declare(name) for name in our_backends())
    if "--check" not in sys.argv[1:]:
        STUB.write_text(text, encoding="utf-8")
        return 0
    if STUB.is_file() and STUB.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{STUB.relative_to(ROOT)} is not up to date. Write it: python tools/generate_constructors.py\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
