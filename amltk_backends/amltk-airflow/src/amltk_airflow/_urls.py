"""Checks URLs of stores without loading the libraries that open them."""

from __future__ import annotations

from amltk.describe import without_credentials


def check_no_credentials(name: str, url: str, instead: str) -> None:
    """Check that a URL has neither user nor password: options are shown and logged.

    Raises:
        ValueError: It has one; `instead` is the sentence on where to put them.
    """
    authority = url.partition("://")[2].partition("/")[0]
    if "@" in authority:
        msg = f"{name} must not hold user or password, got '{without_credentials(url)}'. {instead}"
        raise ValueError(msg)


def check_store(url: str) -> None:
    """Check that workers can have access to a store.

    Raises:
        ValueError: It is no URL, or only this process can read it.
    """
    check_no_credentials(
        "store", url, "Give them where the filesystem looks for them: its configuration files or environment variables."
    )
    shown = repr(without_credentials(url))
    protocol, separator, path = url.partition("://")
    if not separator or not path.strip("/"):
        msg = f"store must be a URL, as in 'file:///shared/amltk' or 's3://bucket/amltk', got {shown}."
        raise ValueError(msg)
    if protocol == "memory":
        msg = f"store must be accessible to Airflow's workers, got {shown}, which is the memory of this process."
        raise ValueError(msg)
