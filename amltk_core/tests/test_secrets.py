"""What may be secret is not shown: in labels, errors, and the command line of a child."""

from __future__ import annotations

import functools
import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from amltk import Scheduler
from amltk.backend import Backend
from amltk.describe import describe_call, describe_option, describe_value, without_credentials
from amltk.doctor import process
from amltk.scheduling.executor_source import from_backend

SECRET = "hunter2"


class _Open(Backend):
    name = "open"
    summary = "Takes anything."

    def __init__(self, url: str = "", **options: object) -> None:
        del url, options

    def open(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1)


@pytest.mark.parametrize(
    "options",
    [
        {"initargs": (SECRET,)},
        {"env": {"TOKEN": SECRET}},
        {"runtime_env": {"env_vars": {"A": SECRET}}},
        {"storage_options": {"key": SECRET}},
        {"password": SECRET},
        {"api_key": SECRET},
        {"nested": {"a": {"password": SECRET}}},
        {"initializer": functools.partial(print, SECRET)},
        {"url": f"tcp://me:{SECRET}@host:80/path"},
        {"url": f"postgresql+psycopg://me:{SECRET * 30}@host"},
        {"url": f"https://host/path?b=1&token={SECRET}&c={SECRET}"},
        {"url": f"redis://:{SECRET}@host"},
        {"addresses": [f"tcp://me:{SECRET}@host"]},
    ],
)
def test_a_label_does_not_show_it(options: dict[str, object]) -> None:
    scheduler = Scheduler.with_threads()
    source = from_backend(_Open, (), options)
    assert SECRET not in source.label
    assert "..." in source.label or "initializer" in options
    object.__setattr__(scheduler, "_source", source)
    assert SECRET not in scheduler._repr_html_()
    assert SECRET not in repr(scheduler)


@pytest.mark.parametrize("backend", ["threads", "processes", "loky"])
def test_neither_label_nor_error_of_a_backend_shows_its_initargs(backend: str) -> None:
    scheduler = Scheduler.with_backend(backend, initializer=print, initargs=(SECRET,))
    assert SECRET not in scheduler.executor_label
    assert "initargs=..." in scheduler.executor_label
    with pytest.raises(TypeError, match="initargs") as caught:
        Scheduler.with_backend(backend, initializer=print, initargs=[SECRET])
    assert SECRET not in str(caught.value)


def test_a_call_is_described_without_it() -> None:
    text = describe_call(print, (f"s3://me:{SECRET}@bucket", {"password": SECRET}), {"secret": SECRET, "n": 3})
    assert SECRET not in text
    assert "n=3" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://host:80/a", "http://host:80/a"),
        ("http://me:pw@host/a@b", "http://...@host/a@b"),
        ("see tcp://me@host and ftp://you:pw@there", "see tcp://...@host and ftp://...@there"),
        ("https://h/a?sig=abc&x=1", "https://h/a?sig=...&x=..."),
        ("me@host", "me@host"),
        ("a=b&c=d", "a=b&c=d"),
    ],
)
def test_urls_lose_users_passwords_and_values(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


@pytest.mark.parametrize("name", ["max_tokens", "key", "tokenizer", "password_file", "keys", "author"])
def test_what_only_sounds_secret_is_shown(name: str) -> None:
    assert describe_option(name, "value") == "'value'"
    assert describe_value({name: "value"}) == f"{{'{name}': 'value'}}"


def test_empty_options_are_shown() -> None:
    assert (describe_option("initargs", ()), describe_option("env", {}), describe_option("password", None)) == (
        "()", "{}", "None",
    )  # fmt: skip


def test_the_command_line_of_the_doctors_child_has_no_options() -> None:
    sent = pickle.dumps({"max_workers": 1}).hex()
    with process.Probe("threads", "run", sent=sent) as probe:
        line = psutil.Process(probe._process.pid).cmdline()
        messages = list(probe.messages(60))
    assert sent not in " ".join(line)
    assert not [message for message in messages if message.get("state") == "failed"], json.dumps(messages)
