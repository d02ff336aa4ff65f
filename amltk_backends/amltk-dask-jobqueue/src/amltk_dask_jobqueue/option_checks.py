"""Checks that options add no lines to a job script, and no options to a line of it.

dask-jobqueue inserts the options into the text of a job script unchanged. Values often come from outside: a settings
file, a form, an environment variable. So a value that breaks its line or word is refused before anything starts.
"""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePath
from typing import Any

from amltk.checks import check_int, check_mapping, check_text, check_type
from amltk.describe import HIDDEN, describe_option, describe_value, without_secrets
from amltk_dask.option_checks import check_duration, check_log_level, check_memory, check_page, check_texts_of

_NAMES = {"queue", "account", "project", "walltime", "job_name"}
_NO_PART_OF_A_NAME = re.compile(r"[\s\"'`$;\\]|^-|^$")
_NOT_IN_ONE_LINE = {"job_script_prologue", "env_extra"}  # lines of the script, by purpose
_NOT_IN_THE_SCRIPT = {"scheduler_options", "config_name"}
_LINES = {"job_script_prologue", "env_extra", "job_directives_skip", "header_skip"}
_DIRECTIVES = {"job_extra_directives", "job_extra"}
_UNITS = ("kb", "mb", "gb", "tb", "pb", "eb", "zb")  # those of dask-jobqueue
_ARGUMENTS = {"worker_extra_args", "extra", "submit_command_extra", "cancel_command_extra"}


def check_texts(options: Mapping[str, Any]) -> None:
    """Check that the text of each option fits into one line of a job script.

    Args:
        options: By name, as the user gives them, here or in dask's configuration.

    Raises:
        ValueError: A value has a line break or another control character, or a name is not one word.
    """
    for name, value in options.items():
        if name in _NOT_IN_ONE_LINE | _NOT_IN_THE_SCRIPT:
            continue
        for text in _texts(value):
            check_one_line(name, text)
            if name in _NAMES and _NO_PART_OF_A_NAME.search(text):
                msg = (
                    f"{name} must be one word without quotes, '$', ';' or a '-' in front, got {describe_value(text)}. "
                    "Use job_extra_directives= for options that need more."
                )
                raise ValueError(msg)


def check_lists(options: Mapping[str, Any], *, named_directives: bool) -> None:
    """Check that lists of lines or arguments are lists: a text would become a list of characters.

    Args:
        options: By name, as the user gives them, here or in dask's configuration.
        named_directives: Whether directives have names and values, as for HTCondor.

    Raises:
        TypeError: A value is no list, or has other items.
    """
    for name, value in options.items():
        if value is None or name not in _LINES | _DIRECTIVES | _ARGUMENTS:
            continue
        if name in _DIRECTIVES and named_directives:
            if not isinstance(value, list) or value:  # dask's configuration has an empty list for none
                check_mapping(name, value)
        elif isinstance(value, set | frozenset) and name in _LINES:
            check_texts_of(name, sorted(value, key=str), one_line=False)
        elif name in _ARGUMENTS and isinstance(value, list | tuple):
            check_texts_of(name, [str(each) if _is_number(each) else each for each in value])
        else:
            check_texts_of(name, value, one_line=name in _ARGUMENTS)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_values(options: Mapping[str, Any]) -> None:
    """Check types and ranges of the user's options; None is dask-jobqueue's default.

    Raises:
        TypeError: A value is of a wrong type; the message names the option.
        ValueError: A value is of the right type and not allowed.
    """
    for name, value in options.items():
        if value is not None and (check := _CHECKS.get(name)) is not None:
            check(name, value)


def _count(name: str, value: object) -> None:
    check_int(name, value, at_least=1)


def _size(name: str, value: object) -> None:
    check_memory(name, value, number=False)


def _word(name: str, value: object) -> None:
    check_text(name, value, empty=False)


def _folder(name: str, value: object) -> None:
    check_text(name, str(value) if isinstance(value, PurePath) else value, empty=False)


def _unit(name: str, value: object) -> None:
    check_text(name, value)
    if str(value).lower() not in _UNITS:
        msg = f"{name} must be one of {', '.join(_UNITS)}, got {describe_value(value)}."
        raise ValueError(msg)


def _of_type(kind: type) -> Callable[[str, Any], None]:
    return lambda name, value: check_type(name, value, kind)


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    **dict.fromkeys(["cores", "processes", "job_cpu", "ncpus", "mem"], _count),
    **dict.fromkeys(["memory", "disk"], _size),
    **dict.fromkeys(["queue", "account", "project", "walltime", "host", "worker_interface", "job_name"], check_text),
    **dict.fromkeys(["job_mem", "resource_spec", "interface"], _word),
    **dict.fromkeys(["worker_command", "python", "shebang", "config_name"], _word),
    **dict.fromkeys(["memory_per_core_property_name", "protocol"], _word),
    **dict.fromkeys(["local_directory", "shared_temp_directory"], _folder),
    **dict.fromkeys(["nanny", "use_stdin"], _of_type(bool)),
    "lsf_units": _unit,
    "death_timeout": check_duration,
    "dashboard_address": check_page,
    "silence_logs": check_log_level,
    "scheduler_options": check_mapping,
    "scheduler_cls": _of_type(type),
}


def check_one_line(name: str, text: str) -> None:
    """Check that a text has no line breaks or other control characters.

    Raises:
        ValueError: It has one.
    """
    check_text(name, text)


def check_command(name: str, command: str, example: str) -> None:
    """Check that a value is a command.

    Args:
        name: The option.
        command: Its value.
        example: The system's own command, for the message.

    Raises:
        ValueError: It is empty, has several lines, or an unclosed quote.
    """
    check_one_line(name, command)
    try:
        words = shlex.split(command)
    except ValueError as error:
        msg = f"{name} must be a command, as {example!r} is; got {describe_option(name, command)}: {error}."
        raise ValueError(msg) from error
    if not words:
        msg = f"{name} must be a command, as {example!r} is; got {describe_option(name, command)}."
        raise ValueError(msg)


def without_secrets_of(name: str, value: Any) -> Any:
    """Return the value of an option without secrets, in a form that a job script can be made of."""
    shell = name in {"job_script_prologue", "env_extra"}
    if isinstance(value, str):
        return without_secrets(value, shell=shell)
    if isinstance(value, list | tuple):
        words = [without_secrets_of(name, each) for each in value]
        # The name of an option may be one item, and its value the next.
        together = [without_secrets(f"{before} {each}") for before, each in itertools.pairwise(["", *value])]
        return [
            HIDDEN if isinstance(word, str) and whole.endswith(f" {HIDDEN}") else word
            for word, whole in zip(words, together, strict=True)
        ]
    if isinstance(value, Mapping) and name in _DIRECTIVES:
        called = {key: str(key).lower().rpartition(".")[2] for key in value}  # `MY.Token` is an attribute of a job
        return {
            key: HIDDEN if describe_option(called[key], each) == HIDDEN else without_secrets_of(name, each)
            for key, each in value.items()
        }
    return value


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str | PurePath):
        yield str(value)
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _texts(each)
