"""Which URLs can be a store's; without what opens them, so that a wrong one is found before that is loaded."""

from __future__ import annotations

from amltk.describe import without_credentials


def check_no_credentials(name: str, url: str, instead: str) -> None:
    """Refuse a URL with user and password: options are shown, and logged.

    Raises:
        ValueError: It has them; the message says where to put them `instead`.
    """
    authority = url.partition("://")[2].partition("/")[0]
    if "@" in authority:
        msg = f"{name} must not hold user or password, got '{without_credentials(url)}'. {instead}"
        raise ValueError(msg)


def check_store(url: str) -> None:
    """Refuse what workers could not see.

    Raises:
        ValueError: It is no URL of something that has other readers than this process.
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
        msg = f"store must be seen by Airflow's workers, got {shown}, which is the memory of this process."
        raise ValueError(msg)
