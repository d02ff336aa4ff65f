"""What tests have workers do with arrays; a module of its own, for NumPy takes long to import."""

from __future__ import annotations

from typing import Any

import numpy as np


def same(value: Any) -> Any:
    return value


class Tagged(np.ndarray):
    """A subclass with something of its own."""

    tag = "none"

    def __reduce__(self) -> Any:
        return tagged, (self.tag, np.asarray(self))


def tagged(tag: str, values: np.ndarray) -> Tagged:
    array = values.view(Tagged)
    array.tag = tag
    return array
