"""Where the parts keep their files."""

import stat
from pathlib import Path

from server.embedded import places


def test_a_part_that_makes_its_directory_private_leaves_the_way_open_that_another_opened(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    places.private(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o711
    directory.chmod(0o711)
    places.private(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o711


def test_a_directory_that_nobody_else_may_enter_stays_so(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    places.private(directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
