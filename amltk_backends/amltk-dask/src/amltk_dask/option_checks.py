"""Checks options of dask early: dask accepts wrong values and fails in the run, far from the line at fault.

Options that are not named here are passed on unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from numbers import Integral, Real
from typing import Any

from amltk.checks import MOST_INT, MOST_SECONDS, check_int, check_mapping, check_text, check_type
from amltk.describe import describe_option

_LARGEST_PORT = 65535
_LEAST_DURATION = {
    **dict.fromkeys(["heartbeat_interval", "profile_cycle_interval", "scheduler_sync_interval"], 0.01),
    **dict.fromkeys(["death_timeout", "lifetime"], 0.5),
}


def check_dask_options(options: Mapping[str, Any]) -> None:
    """Check options of `distributed.LocalCluster` and its workers; None is dask's default.

    Raises:
        TypeError: A value is of a wrong type; the message names the option.
        ValueError: A value is of the right type and not allowed.
    """
    for name, value in options.items():
        if value is not None and (check := _CHECKS.get(name)) is not None:
            check(name, value)


def check_duration(name: str, value: object) -> None:
    """Check that `value` is a duration for dask: seconds, or a text such as "30 s"; None is dask's default.

    Raises:
        TypeError: It is neither a number nor a text.
        ValueError: It is out of range, NaN, or a text that is no duration.
    """
    if value is None:
        return
    least = _LEAST_DURATION.get(name, 0.0)
    allowed = f"seconds, from {least:g} to {MOST_SECONDS:g}, or a text such as '30 s'"
    if isinstance(value, bool) or not isinstance(value, str | Real):
        msg = f"{name} must be {allowed}, got {describe_option(name, value)} of type {type(value).__name__}."
        raise TypeError(msg)
    if isinstance(value, str):
        check_text(name, value)
    if not _is_amount(value, _parse_duration, least, MOST_SECONDS):
        msg = f"{name} must be {allowed}, got {describe_option(name, value)}."
        raise ValueError(msg)


def check_memory(name: str, value: object, *, number: bool = True) -> None:
    """Check that `value` is an amount of memory for dask; None is dask's default.

    Args:
        name: The option's name.
        value: Its value: a text such as "4 GB", a number of bytes, or a fraction of 1.
        number: Whether a number is allowed.

    Raises:
        TypeError: It is neither a number nor a text.
        ValueError: It is out of range, or a text that is no amount; or empty, if a number is not allowed.
    """
    if value is None:
        return
    allowed = "a text such as '4 GB'"
    if number:
        allowed = f"bytes, {allowed}, a part of 1, or None"
    kinds: Any = str | Real if number else str
    if isinstance(value, bool) or not isinstance(value, kinds):
        msg = f"{name} must be {allowed}, got {describe_option(name, value)} of type {type(value).__name__}."
        raise TypeError(msg)
    if isinstance(value, str):
        check_text(name, value)
    if number and value == "auto":
        return
    if not _is_amount(value, _parse_memory, 0 if number else 1, MOST_INT):
        msg = f"{name} must be {allowed}, got {describe_option(name, value)}."
        raise ValueError(msg)


def check_port(name: str, value: object) -> None:
    """Check that `value` is a port; 0 is any free port.

    Raises:
        TypeError: It is no integer.
        ValueError: It is out of range.
    """
    check_int(name, value, at_least=0)
    if value > _LARGEST_PORT:  # type: ignore[operator] # it is a number
        msg = f"{name} must be a port, up to {_LARGEST_PORT}, got {describe_option(name, value)}."
        raise ValueError(msg)


def check_page(name: str, value: object) -> None:
    """Check that `value` is the address of a page: a port, or a text such as ":8787"."""
    if isinstance(value, Integral):
        check_port(name, value)
    else:
        check_text(name, value)


def check_log_level(name: str, value: object) -> None:
    """Check that `value` is a level of logging: a number, a level's name, or False."""
    if value is False:
        return
    if isinstance(value, str):
        import logging

        check_text(name, value)
        if value.upper() not in logging.getLevelNamesMapping():
            msg = f"{name} must be a level of logging, such as 'ERROR', got {describe_option(name, value)}."
            raise ValueError(msg)
    else:
        check_int(name, value, at_least=0)


def _is_amount(value: Any, parse: Callable[[str], float], least: float, most: float) -> bool:
    """Return whether `value` is within bounds; NaN is not."""
    try:
        return least <= (parse(value) if isinstance(value, str) else value) <= most
    except (ValueError, KeyError, IndexError, ArithmeticError):
        return False


def _parse_duration(text: str) -> float:
    from dask.utils import parse_timedelta

    return float(parse_timedelta(text)) if text.strip() else -1.0


def _parse_memory(text: str) -> float:
    from dask.utils import parse_bytes

    return float(parse_bytes(text)) if text.strip() else -1.0


def _positive(name: str, value: object) -> None:
    check_int(name, value, at_least=1)


def _bool(name: str, value: object) -> None:
    check_type(name, value, bool)


def _word(name: str, value: object) -> None:
    check_text(name, value, empty=False)


def check_texts_of(name: str, value: object, *, one_line: bool = True) -> None:
    """Check that `value` is a list or tuple of texts.

    Raises:
        TypeError: It is not: a single text, for example.
        ValueError: One of the texts has control characters.
    """
    if not isinstance(value, list | tuple):
        msg = f"{name} must be a list of texts, got {describe_option(name, value)} of type {type(value).__name__}."
        raise TypeError(msg)
    for each in value:
        lines = [each] if one_line or not isinstance(each, str) else each.replace("\t", " ").split("\n")
        for line in lines:
            check_text(f"each item of {name}", line)


def _arguments(name: str, value: object) -> None:
    """Check that `value` is the arguments of one command, or of several."""
    for each in value if isinstance(value, list) and any(isinstance(part, list) for part in value) else [value]:
        check_texts_of(name, each)


def _text_or_texts(name: str, value: object) -> None:
    """Check that `value` is modules or code."""
    check_texts_of(name, [value] if isinstance(value, str) else value, one_line=False)


def _ports(name: str, value: object) -> None:
    if isinstance(value, str):
        if not re.fullmatch(r"\d{1,5}(:\d{1,5})?", value):
            msg = f"{name} must be a port, or several, as in '9000:9010', got {describe_option(name, value)}."
            raise ValueError(msg)
    else:
        ports = value if isinstance(value, list | tuple | range) else [value]
        for each in ports:
            check_port(name, each)
        if not ports:
            msg = f"{name} must not be empty."
            raise ValueError(msg)


def _one_of(*kinds: type, allowed: str) -> Callable[[str, object], None]:
    def check(name: str, value: object) -> None:
        if not isinstance(value, kinds):
            got = describe_option(name, value)
            msg = f"{name} must be {allowed}, got {got} of type {type(value).__name__}."
            raise TypeError(msg)

    return check


def _executor(name: str, value: object) -> None:
    check = _one_of(Executor, Mapping, allowed="an executor, several by name, or 'offload'")
    if isinstance(value, Mapping):
        check_mapping(name, value)
        for key, each in value.items():
            _one_of(Executor, allowed="an executor")(f"{name}[{key!r}]", each)
    elif not isinstance(value, str) or value != "offload":
        check(name, value)


def _data(name: str, value: object) -> None:
    if not callable(value):
        _one_of(Mapping, tuple, allowed="a mapping, or a function that returns one")(name, value)


def _most_transitions(name: str, value: object) -> None:
    if value is not False:
        check_int(name, value, at_least=1)


def _environment(name: str, value: Any) -> None:
    check_mapping(name, value)
    for key, each in value.items():
        if not isinstance(each, str):
            msg = f"{name}[{key!r}] must be a text, got one of type {type(each).__name__}."
            raise TypeError(msg)
        if "\0" in each:
            msg = f"{name}[{key!r}] must not have the character NUL."
            raise ValueError(msg)


def _amounts(name: str, value: Any) -> None:
    check_mapping(name, value)
    for key, each in value.items():
        if isinstance(each, bool) or not isinstance(each, Real) or not _is_amount(each, float, 0, MOST_INT):
            msg = f"{name}[{key!r}] must be a number of 0 or more, got {describe_option(name, each)}."
            raise (ValueError if isinstance(each, Real) else TypeError)(msg)


def _name_of_cluster(name: str, value: object) -> None:
    if isinstance(value, Integral):
        check_int(name, value, at_least=0)
    else:
        check_text(name, value)


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "name": _name_of_cluster,
    "threads_per_worker": _positive,
    "nthreads": _positive,
    "scheduler_port": check_port,
    "dashboard_address": check_page,
    "worker_dashboard_address": check_page,
    "memory_limit": check_memory,
    "silence_logs": check_log_level,
    "blocked_handlers": check_texts_of,
    "port": _ports,
    "preload": _text_or_texts,
    "preload_argv": _arguments,
    "plugins": _one_of(list, tuple, allowed="a tuple of plugins"),
    "executor": _executor,
    "data": _data,
    "transition_counter_max": _most_transitions,
    "WorkerStateClass": _one_of(type, allowed="a class"),
    "env": _environment,
    "resources": _amounts,
    **dict.fromkeys(["host", "interface", "local_directory", "protocol", "scheduler_file"], _word),
    **dict.fromkeys(["contact_address", "http_prefix", "scheduler_sni"], _word),
    **dict.fromkeys(["death_timeout", "heartbeat_interval", "scheduler_sync_interval"], check_duration),
    **dict.fromkeys(["lifetime", "lifetime_stagger", "profile_cycle_interval"], check_duration),
    **dict.fromkeys(["dashboard", "lifetime_restart", "low_level_profiler", "validate"], _bool),
    **dict.fromkeys(["scheduler_kwargs", "service_kwargs", "services", "worker_services"], check_mapping),
    **dict.fromkeys(["extensions", "metrics", "startup_information"], check_mapping),
}
