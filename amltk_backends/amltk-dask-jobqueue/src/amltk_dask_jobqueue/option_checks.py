"""Refuses options that would add lines to a job script, or options to a line of it.

A job script is text, and dask-jobqueue puts the options into it as they are. A value often comes from elsewhere: a
file of settings, a form, an environment variable. So one that breaks its line, or its word, is refused before anything
starts.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from amltk.calls import describe_value

_NAMES = {"queue", "account", "project", "walltime", "job_name"}
_NO_PART_OF_A_NAME = re.compile(r"[\s\"'`$;\\]|^-|^$")
_NOT_IN_ONE_LINE = {"job_script_prologue", "env_extra"}  # lines of the script, by their purpose
_NOT_IN_THE_SCRIPT = {"scheduler_options", "config_name"}
_BREAKS = {"Cc", "Zl", "Zp"}  # control characters, separators of lines and of paragraphs


def check_texts(options: Mapping[str, Any]) -> None:
    """Refuse options whose text a job script can't hold in one line.

    Args:
        options: By name, as the user gives them, here or in dask's configuration.

    Raises:
        ValueError: A value has a line break or another control character; or a name is not one word.
    """
    for name, value in options.items():
        if name in _NOT_IN_ONE_LINE | _NOT_IN_THE_SCRIPT:
            continue
        for text in _texts(value):
            check_one_line(name, text)
            if name in _NAMES and _NO_PART_OF_A_NAME.search(text):
                msg = (
                    f"{name} must be one word without quotes, '$', ';' or a '-' in front, got {describe_value(text)}. "
                    "An option that needs more goes into job_extra_directives=."
                )
                raise ValueError(msg)


def check_one_line(name: str, text: str) -> None:
    """Refuse a text with line breaks or other control characters.

    Raises:
        ValueError: It has some.
    """
    if any(unicodedata.category(character) in _BREAKS for character in text):
        msg = f"{name} must be text of one line, without control characters, got {describe_value(text)}."
        raise ValueError(msg)


def check_command(name: str, command: str, example: str) -> None:
    """Refuse what is no command.

    Args:
        name: Of the option.
        command: Its value.
        example: The system's own command.

    Raises:
        ValueError: It is empty, has several lines, or quotes that are not closed.
    """
    check_one_line(name, command)
    try:
        words = shlex.split(command)
    except ValueError as error:
        msg = f"{name} must be a command, as {example!r} is; got {command!r}: {error}."
        raise ValueError(msg) from error
    if not words:
        msg = f"{name} must be a command, as {example!r} is; got {command!r}."
        raise ValueError(msg)


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, str | PurePath):
        yield str(value)
    elif isinstance(value, Mapping):
        for pair in value.items():
            yield from _texts(pair)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _texts(each)
