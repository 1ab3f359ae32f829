"""Commands, run in the tests' own process, with what they printed."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from server.__main__ import main
from tests.embedded.stacks import Up, stack

__all__ = ["stack"]


@dataclass
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    def refused(self, code: int, *words: str) -> None:
        """Check the exit code and that one sentence on stderr has all these words."""
        assert (self.code, self.out) == (code, ""), self
        assert self.err.startswith("concierge: ") and len(self.err.splitlines()) == 1, self.err
        assert all(word in self.err for word in words), self.err


Run = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command as `./concierge` does."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.delenv("REDIS_URL", raising=False)

    def run_(*words: str) -> Ran:
        capsys.readouterr()
        try:
            code = main(words)
        except SystemExit as bad_usage:  # argparse's way
            code = int(bad_usage.code or 0)
        return Ran(code, *capsys.readouterr())

    return run_


@pytest.fixture
def there(stack: Up, run: Run) -> Run:
    """Runs a command on the shared stack."""

    def there_(*words: str) -> Ran:
        return run(*words, "--data-dir", str(stack.data_dir))

    return there_
