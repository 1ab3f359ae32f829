"""`check`: format, lint, types, the floors, the rules of the house, and that the migrations make the tables."""

import argparse
import ast
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from server.embedded.places import HOUSE

FILE_LINES = 300
FUNCTION_LINES = 50
ROOMS = ("server", "channels", "storage", "migrations", "proxy", "tests")


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the command."""
    parser.add_argument("--fix", action="store_true", help="format, and mend what the linter can mend")
    parser.add_argument("--json", action="store_true", help="print one JSON object: what is wrong, check by check")


def run(options: argparse.Namespace) -> int:
    """Run every check and say how each went."""
    if options.fix:
        _tool("ruff", "check", "--fix", "--quiet", *rooms())
        _tool("ruff", "format", "--quiet", *rooms())
    found: dict[str, list[str]] = {}
    for name, check in CHECKS.items():
        found[name] = trouble = check()
        if not options.json:
            print(f"{'FAILED' if trouble else 'ok    '}  {name}", flush=True)
            print("".join(f"        {line}\n" for line in trouble), end="")
    if options.json:
        print(json.dumps(found))
    return 1 if any(found.values()) else 0


def rooms() -> list[str]:
    """Give the folders with Python in them."""
    return [room for room in ROOMS if (HOUSE / room).is_dir()]


def _tool(module: str, *arguments: str) -> list[str]:
    """Run a tool of the environment: its output's lines when it fails, nothing when all is well."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=HOUSE, capture_output=True, text=True, check=False
    )
    return [] if done.returncode == 0 else (done.stdout + done.stderr).strip().splitlines() or ["failed"]


def house_rules() -> list[str]:
    """Files of 300 lines at most, functions of 50 (text such as SQL not counted)."""
    trouble: list[str] = []
    for room in rooms():
        for path in sorted((HOUSE / room).rglob("*.py")):
            if "node_modules" in path.parts:
                continue
            text = path.read_text(encoding="utf-8")
            name = path.relative_to(HOUSE)
            if (lines := text.count("\n")) > FILE_LINES:
                trouble.append(f"{name}: {lines} lines; {FILE_LINES} is the most.")
            trouble += [f"{name}:{place}" for place in _long_functions(ast.parse(text))]
    return trouble


def _long_functions(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            texts = sum(_text_lines(part) for part in ast.walk(node))
            lines = (node.end_lineno or 0) - node.lineno + 1 - texts
            if lines > FUNCTION_LINES:
                yield f"{node.lineno} {node.name}: {lines} lines; {FUNCTION_LINES} is the most."


def _text_lines(node: ast.AST) -> int:
    """Count the lines of a text of several lines."""
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return (node.end_lineno or 0) - node.lineno if is_text and isinstance(node, ast.Constant) else 0


def migrations_make_the_tables() -> list[str]:
    """Migrate a fresh database up, compare it with `storage/tables.py`, and migrate it down and up again."""
    script = """
import asyncio, pathlib, sys
from alembic import command
from migrations.run import config, migrate
from server.embedded.postgres import Postgres
async def main():
    postgres = Postgres(pathlib.Path(sys.argv[1]))
    await postgres.start()
    try:
        await asyncio.to_thread(migrate, postgres.url)
        await asyncio.to_thread(command.check, config(postgres.url))
        await asyncio.to_thread(migrate, postgres.url, "base")
        await asyncio.to_thread(migrate, postgres.url)
    finally:
        await postgres.stop()
asyncio.run(main())
"""
    with tempfile.TemporaryDirectory(prefix="concierge-check-") as directory:
        done = subprocess.run(
            [sys.executable, "-c", script, directory], cwd=HOUSE, capture_output=True, text=True, check=False
        )
    return [] if done.returncode == 0 else (done.stdout + done.stderr).strip().splitlines()


def _imports() -> list[str]:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--config", "setup.cfg"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=False,
    )
    return [] if done.returncode == 0 else (done.stdout + done.stderr).strip().splitlines()


CHECKS: dict[str, Callable[[], list[str]]] = {
    "format (ruff)": lambda: _tool("ruff", "format", "--check", *rooms()),
    "lint (ruff)": lambda: _tool("ruff", "check", *rooms()),
    "types (mypy --strict)": lambda: _tool("mypy"),
    "floors (import-linter)": _imports,
    "house rules": house_rules,
    "migrations (alembic check)": migrations_make_the_tables,
}
