"""Checks the values of limits."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from numbers import Integral, Real  # those of numpy are such numbers, too

from amltk.checks import MOST_INT, MOST_SECONDS
from amltk.describe import describe_value
from amltk_pynisher._library import pynisher
from amltk_pynisher._limits import Limits

Amount = float | tuple[float, str]

_MEMORY_UNITS = ("B", "KB", "MB", "GB")
_TIME_UNITS = ("s", "m", "h")
_FEATURES = {"memory_limit": "memory", "cputime_limit": "cpu_time", "walltime_limit": "wall_time"}


def checked(memory_limit: object, cputime_limit: object, walltime_limit: object) -> Limits:
    """Return checked limits, in bytes and seconds.

    Raises:
        TypeError: A limit is neither a number nor a number with a unit.
        ValueError: A number is not above 0, or a unit is unknown.
        NotImplementedError: This system does not support a limit.
    """
    memory = _amount("memory_limit", memory_limit, "bytes", _MEMORY_UNITS, pynisher.util.memconvert)
    cpu_time = _amount("cputime_limit", cputime_limit, "seconds", _TIME_UNITS, pynisher.util.timeconvert)
    wall_time = _amount("walltime_limit", walltime_limit, "seconds", _TIME_UNITS, pynisher.util.timeconvert)
    is_fraction = isinstance(memory_limit, Real) and not isinstance(memory_limit, Integral)
    if memory is not None and (memory < 1 or (is_fraction and not float(memory_limit).is_integer())):  # type: ignore[arg-type] # it is a number
        got = describe_value(memory_limit)
        msg = f"memory_limit must be a whole number of bytes, 1 or more, or a number with a unit; got {got}."
        raise ValueError(msg)
    if cpu_time is not None and cpu_time < 1:
        got = describe_value(cputime_limit)
        msg = f"cputime_limit must be at least 1 second, because the system counts whole seconds; got {got}."
        raise ValueError(msg)
    given = {"memory_limit": memory, "cputime_limit": cpu_time, "walltime_limit": wall_time}
    for name, value in given.items():
        if value is not None and not _supported(name):
            supported = ", ".join(filter(_supported, _FEATURES)) or "none"
            msg = f"{name} is not supported on {sys.platform}; leave it out. Supported here: {supported}."
            raise NotImplementedError(msg)
    return Limits(
        None if memory is None else int(memory),
        None if cpu_time is None else math.ceil(cpu_time),
        wall_time,
    )


def _amount(name: str, value: object, base: str, units: tuple[str, ...], convert: Callable[..., float]) -> float | None:
    if value is None:
        return None
    number, unit = value if isinstance(value, tuple) and len(value) == 2 else (value, units[0])
    allowed = f"a number of {base}, (number, unit) with a unit of {', '.join(units)}, or None"
    if isinstance(number, bool) or not isinstance(number, Real) or not isinstance(unit, str):
        msg = f"{name} must be {allowed}; got {describe_value(value)} of type {type(value).__name__}."
        raise TypeError(msg)
    if unit.lower() not in [known.lower() for known in units] or not 0 < number < math.inf:  # type: ignore[operator] # it is a number
        msg = f"{name} must be {allowed}, and the number above 0; got {describe_value(value)}."
        raise ValueError(msg)
    most = MOST_INT if base == "bytes" else MOST_SECONDS  # what the system's calls and clocks accept
    try:
        amount = convert(int(number) if isinstance(number, Integral) else float(number), frm=unit)
    except OverflowError:
        amount = math.inf
    if amount > most:
        msg = f"{name} must be {allowed}, and at most {most:g} {base}; got {describe_value(value)}."
        raise ValueError(msg)
    return amount


def _supported(name: str) -> bool:
    if sys.platform == "win32":
        return False  # pynisher supports more there, but see _call: we need process groups and signals
    try:
        return bool(pynisher.supports(_FEATURES[name]))
    except NotImplementedError:
        return False
