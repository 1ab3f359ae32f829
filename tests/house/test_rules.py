"""The rules of the house hold: the same checks as `./concierge check`."""

import pytest

from server.commands.check import CHECKS


@pytest.mark.parametrize("name", list(CHECKS))
def test_the_house_keeps(name: str) -> None:
    trouble = CHECKS[name]()
    assert not trouble, "\n".join(trouble)
