"""The pages of the house, taken apart: code blocks and tables."""

import re
from pathlib import Path

from server.embedded.places import HOUSE

READMES = ("README.md", "README.ja.md")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    """Give a page's text."""
    return (HOUSE / name).read_text(encoding="utf-8")


def blocks(name: str, language: str) -> list[str]:
    """Give a page's code blocks of a language."""
    return [found[2] for found in BLOCK.finditer(page(name)) if found[1] == language]


def tables(name: str) -> list[list[list[str]]]:
    """Give a page's tables, each as rows of cells, without the headings."""
    found: list[list[list[str]]] = [[]]
    for line in page(name).splitlines():
        if line.startswith("| "):
            found[-1].append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif found[-1]:
            found.append([])
    return [table[2:] for table in found if table]


def without_code(text: str) -> str:
    """Give a page's text without its blocks of code."""
    return BLOCK.sub("", text)


def exists(path: str) -> bool:
    """Whether the house has this file or folder."""
    return Path(HOUSE / path).exists()
