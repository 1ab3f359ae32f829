"""`check`: its own rules find what they are there for. (That the house keeps them is `tests/house`.)"""

import json
from pathlib import Path

import pytest

from server.commands import check
from tests.commands.conftest import Run


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another house than ours, with one room."""
    monkeypatch.setattr(check, "HOUSE", tmp_path)
    (tmp_path / "server" / "node_modules").mkdir(parents=True)
    return tmp_path


def test_a_file_has_300_lines_at_most(house: Path) -> None:
    (house / "server" / "good.py").write_text("x = 1\n" * 300)
    (house / "server" / "long.py").write_text("x = 1\n" * 301)
    (house / "server" / "node_modules" / "foreign.py").write_text("x = 1\n" * 999)
    assert check.house_rules() == ["server/long.py: 301 lines; 300 is the most."]


def test_a_function_has_50_lines_at_most_and_sql_is_not_counted(house: Path) -> None:
    body = "    x = 1\n" * 49
    sql = '    sql = """' + "select\n" * 100 + '"""\n'
    (house / "server" / "good.py").write_text(f"def good():\n{body}\n\nasync def asks():\n{sql}{body[:-10]}")
    assert check.house_rules() == []
    (house / "server" / "bad.py").write_text(
        f"class A:\n    async def bad(self):\n{body.replace('    x', '        x')}        y = 1\n"
    )
    assert check.house_rules() == ["server/bad.py:2 bad: 51 lines; 50 is the most."]


def test_the_formatter_the_linter_and_the_types_are_asked(house: Path) -> None:
    (house / "server" / "bad.py").write_text("import os\nx:int='one'\n")
    for name, told in (("format (ruff)", "bad.py"), ("lint (ruff)", "F401")):
        assert any(told in line for line in check.CHECKS[name]()), name
    types = check._tool("mypy", "--strict", "server/bad.py")
    assert any("Incompatible types" in line for line in types)


def test_a_failed_check_is_exit_code_1_and_says_what_failed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "CHECKS", {"good": list, "bad": lambda: ["the reason"]})
    failed = run("check")
    assert (failed.code, failed.out.splitlines()) == (1, ["ok      good", "FAILED  bad", "        the reason"])
    assert json.loads(run("check", "--json").out) == {"good": [], "bad": ["the reason"]}
    monkeypatch.setattr(check, "CHECKS", {"good": list})
    assert run("check").code == 0
