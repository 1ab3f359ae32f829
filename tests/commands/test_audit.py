"""`audit`: the books balance, and a hand in the till is found and named."""

import asyncio
import json

import asyncpg

from tests.commands.conftest import Run
from tests.embedded.stacks import Up, concierge


def tamper(stack: Up, amount: int) -> None:
    """Change a balance by hand."""

    async def change() -> None:
        connection = await asyncpg.connect(stack.stack["database_url"])
        sql = "update accounts set credit_balance = credit_balance + $1 where email = 'user4@example.com'"
        assert await connection.execute(sql, amount) == "UPDATE 1"
        await connection.close()

    asyncio.run(change())


def test_books_that_balance_are_exit_code_0(there: Run) -> None:
    assert there("audit").out.splitlines()[-1] == "The books balance."
    books = json.loads(there("audit", "--json").out)
    assert books["accounts"] >= 8 and books["mismatches"] == []


def test_a_balance_tampered_by_hand_is_exit_code_1_and_the_accounts_name(stack: Up, there: Run) -> None:
    tamper(stack, +7)
    try:
        told = concierge("audit", "--data-dir", str(stack.data_dir))
        found = there("audit", "--json")
    finally:
        tamper(stack, -7)
    assert told.returncode == found.code == 1
    assert "user4@example.com" in told.stdout and "田中 悠斗" in told.stdout
    assert "The books do not balance." in told.stdout
    (mismatch,) = json.loads(found.out)["mismatches"]
    assert (mismatch["email"], mismatch["credit_balance"] - mismatch["entries_sum"]) == ("user4@example.com", 7)
    assert there("audit").code == 0
