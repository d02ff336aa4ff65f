"""No secret is an option of `with_airflow`."""

from __future__ import annotations

import pytest

from amltk import Scheduler


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("url", {"url": "https://me:hunter2@airflow", "store": "file:///shared/x"}),
        ("url", {"url": "https://hunter2@airflow", "store": "file:///shared/x"}),
        ("store", {"url": "https://airflow", "store": "s3://key:hunter2@bucket/x"}),
        ("store", {"url": "https://airflow", "store": "sftp://hunter2@host/x"}),
    ],
)
def test_credentials_in_a_url_are_refused_and_not_shown(name: str, options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"^{name} must not hold user or password") as caught:
        Scheduler.with_backend("airflow", **options)
    assert "hunter2" not in str(caught.value)
