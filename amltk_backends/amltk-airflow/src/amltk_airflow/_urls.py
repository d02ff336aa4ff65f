"""Which URLs can be a store's; without what opens them, so that a wrong one is found before that is loaded."""

from __future__ import annotations


def check_store(url: str) -> None:
    """Refuse what workers could not see.

    Raises:
        ValueError: It is no URL of something that has other readers than this process.
    """
    protocol, separator, path = url.partition("://")
    if not separator or not path.strip("/"):
        msg = f"store must be a URL, as in 'file:///shared/amltk' or 's3://bucket/amltk', got {url!r}."
        raise ValueError(msg)
    if protocol == "memory":
        msg = f"store must be seen by Airflow's workers, got {url!r}, which is the memory of this process."
        raise ValueError(msg)
