"""Each row has its tests, or says where they are."""

from __future__ import annotations

import pytest
from fault_rows import GROUPS, ROWS, rows_with_tests


@pytest.mark.parametrize("row", ROWS, ids=[row.id for row in ROWS])
def test_row(row):
    assert row.id[0] in GROUPS
    if row.id not in rows_with_tests():
        assert row.elsewhere, f"row {row.id} has no test, and says not why"
        pytest.skip(row.elsewhere)


def test_tests_belong_to_rows():
    assert rows_with_tests() <= {row.id for row in ROWS}
