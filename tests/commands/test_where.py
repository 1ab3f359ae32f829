"""A command finds the stack that runs, the one that has stopped, and the one that is just starting."""

import fcntl
import threading
from pathlib import Path

import pytest

from server.commands import where
from tests.commands.conftest import Run
from tests.embedded.stacks import Up


def test_what_a_killed_stack_left_behind_is_no_running_stack(stack: Up, tmp_path: Path) -> None:
    assert where.running_stack(stack.data_dir) == stack.stack
    (tmp_path / "stack.json").write_text(stack.stack_file.read_text())  # its processes live, but not for this directory
    (tmp_path / "up.lock").touch()
    assert where.running_stack(tmp_path) is None
    assert where.running_stack(tmp_path / "nowhere") is None


def test_a_command_leaves_nothing_where_no_stack_is(run: Run, tmp_path: Path) -> None:
    run("audit", "--data-dir", str(tmp_path)).refused(1, "There is no stack in")
    assert list(tmp_path.iterdir()) == []


def test_a_stack_that_is_just_starting_is_waited_for(stack: Up, run: Run, tmp_path: Path) -> None:
    """Else the command would take its PostgreSQL, which has said nothing yet, for a leftover and end it."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18\n")
    with (tmp_path / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = threading.Timer(0.5, lambda: (tmp_path / "stack.json").write_text(stack.stack_file.read_text()))
        ready.start()
        audit = run("audit", "--data-dir", str(tmp_path))
    assert (audit.code, audit.err) == (0, "")


def test_a_stack_that_never_gets_ready_is_not_waited_for_for_ever(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, "STARTING_SECONDS", 0.2)
    with (tmp_path / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run("audit", "--data-dir", str(tmp_path)).refused(1, "neither running nor stopped")
