"""ARCHITECTURE.md and the changelog speak of what is there."""

import configparser
import os
import re
from collections.abc import Iterator
from pathlib import Path

from server import VERSION
from server.embedded.places import HOUSE
from tests.docs.pages import exists, page

PAGE = "ARCHITECTURE.md"
# A path: something with a slash or with one of our suffixes; `/docs` is an address, `id > N` neither.
PATH = re.compile(r"`([A-Za-z_.][\w.-]*(?:/[\w.-]*)*)`")
SUFFIXES = (".py", ".cfg", ".conf", ".md", ".txt", ".yml", ".toml")


def paths(text: str) -> list[str]:
    """Give what a text names as a file or folder of the house."""
    return [word for word in PATH.findall(text) if "/" in word or word.endswith(SUFFIXES)]


def folders() -> Iterator[str]:
    """Give every folder of the house with files of ours in it."""
    for folder, below, files in os.walk(HOUSE):
        below[:] = [name for name in below if name == ".ci" or not name.startswith((".", "__", "node_modules"))]
        name = str(Path(folder).relative_to(HOUSE))
        if files and name != ".":
            yield name


def test_every_path_on_the_page_exists() -> None:
    room = ""
    named = 0
    for line in page(PAGE).splitlines():
        for path in paths(line):
            # A bare name of a file belongs to the folder that was named last.
            assert exists(path) or exists(f"{room}/{path}"), f"{path} (in the room {room or 'house'})"
            room = path.rstrip("/") if path.endswith("/") else str(Path(path).parent) if "/" in path else room
            named += 1
    assert named > 50


def test_every_folder_is_on_the_page() -> None:
    # The rooms of the tests mirror those of the code, and the frontend has a map of its own.
    ours = {folder for folder in folders() if not re.match(r"tests/(?!journeys|bench|load)|frontend/", folder)}
    named = {path.rstrip("/") for path in paths(page(PAGE))}
    assert ours and ours <= named, ours - named


def test_it_is_one_page() -> None:
    assert len(page(PAGE).splitlines()) <= 90


def test_the_changelog_knows_the_version() -> None:
    setup = configparser.ConfigParser()
    setup.read(HOUSE / "setup.cfg", encoding="utf-8")
    versions = re.findall(r"^## \[(\d[^]]*)\] - (?:unreleased|\d{4}-\d\d-\d\d)$", page("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] == setup["metadata"]["version"] == VERSION
