"""`amltk airflow install-dag`."""

from __future__ import annotations

import ast
from importlib.resources import files

import pytest

from amltk import cli
from amltk_airflow.commands import main

TEXT = (files("amltk_airflow") / "dags" / "amltk_dag.py").read_text(encoding="utf-8")


def test_it_is_a_command_of_amltk(tmp_path, capsys):
    assert cli.main(["airflow", "install-dag", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["amltk_dag.py"]
    assert (tmp_path / "amltk_dag.py").read_text() == TEXT
    assert (tmp_path / "amltk_dag.py").stat().st_mode & 0o777 == 0o644
    said = capsys.readouterr().out
    assert f"{tmp_path / 'amltk_dag.py'} is written." in said
    assert "amltk doctor airflow" in said


def test_twice_is_once(tmp_path, capsys):
    main(["install-dag", str(tmp_path)])
    before = (tmp_path / "amltk_dag.py").stat()
    assert main(["install-dag", str(tmp_path)]) == 0
    assert (tmp_path / "amltk_dag.py").stat() == before
    assert "is there already, as it should be" in capsys.readouterr().out


def test_another_version_is_replaced(tmp_path, capsys):
    (tmp_path / "amltk_dag.py").write_text(TEXT + "# older\n")
    assert main(["install-dag", str(tmp_path)]) == 0
    assert (tmp_path / "amltk_dag.py").read_text() == TEXT
    assert "replaces one of another version" in capsys.readouterr().out


def test_what_is_somebody_elses_stays(tmp_path, capsys):
    (tmp_path / "amltk_dag.py").write_text("mine\n")
    assert main(["install-dag", str(tmp_path)]) == 2
    assert (tmp_path / "amltk_dag.py").read_text() == "mine\n"
    assert "exists, and this command has not written it: move it away first" in capsys.readouterr().err


def test_a_folder_that_is_not_there(tmp_path, capsys):
    assert main(["install-dag", str(tmp_path / "dags")]) == 2
    assert not (tmp_path / "dags").exists()
    assert "airflow config get-value core dags_folder" in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["instal-dag"], ["install-dag"]])
def test_a_command_line_that_is_wrong(argv, capsys):
    with pytest.raises(SystemExit) as info:
        main(argv)
    assert info.value.code == 2
    assert "usage: amltk airflow" in capsys.readouterr().err


def test_the_dag_is_quick_to_parse():
    """Airflow does it again and again: nothing is imported that is not needed for that."""
    imported = {
        each.module if isinstance(each, ast.ImportFrom) else each.names[0].name
        for each in ast.parse(TEXT).body
        if isinstance(each, ast.Import | ast.ImportFrom)
    }
    assert imported == {"__future__", "typing", "airflow.sdk"}
