"""What is written in the ledger and in the log stays written, and the audit finds who tampered with the rest."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from server.commands.audit import words
from storage import accounts, audit, credits, personas, sessions
from storage.book import Book
from storage.tables import APPEND_ONLY
from tests.people import People, balance
from tests.servers import Servers

ACCOUNT = "insert into accounts(email, display_name, hashed_password)"
ENTRY = "insert into credit_entries(account_id, amount, balance_after, kind)"
PERSONA = "select persona_id from sessions where user_account_id = $1"
CHANGES = (
    "update {} set created_at = created_at", "update {} set created_at = now() where false", "delete from {}",
    "delete from {} where false", "truncate {}", "truncate {} cascade",
)  # fmt: skip


@pytest.fixture
async def owner(servers: Servers) -> AsyncIterator[Any]:
    """A connection with every right that there is."""
    connection = await asyncpg.connect(servers.database_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("change", CHANGES)
async def test_the_database_itself_refuses_to_change_what_is_written(owner: Any, table: str, change: str) -> None:
    before = await owner.fetchval(f"select count(*) from {table}")
    with pytest.raises(asyncpg.PostgresError, match=f"{table} is append-only"):
        await owner.execute(change.format(table))
    assert await owner.fetchval(f"select count(*) from {table}") == before


async def test_nor_does_it_by_way_of_another_table(owner: Any, book: Book, people: People) -> None:
    user, _, _ = await people.chat()
    for change in (f"delete from accounts where id = {user.id}", "truncate accounts cascade"):
        with pytest.raises(asyncpg.PostgresError):
            await owner.execute(change)
    await audit.record(book, user.id, "account.role", "account", user.id)
    with pytest.raises(asyncpg.PostgresError, match="append-only"):
        await owner.execute(
            "insert into credit_entries(id, account_id, amount, balance_after, kind) overriding system value "
            "select id, account_id, amount, balance_after, kind from credit_entries limit 1 "
            "on conflict (id) do update set amount = 1000000"
        )


@pytest.mark.parametrize(
    ("constraint", "sql"),
    [
        ("accounts_credit_balance_check", "update accounts set credit_balance = -1 where id = $1"),
        ("accounts_email_key", f"{ACCOUNT} select upper(email), 'x', 'x' from accounts where id = $1"),
        ("personas_message_cost_check", f"update personas set message_cost = -1 where id = ({PERSONA})"),
        ("sessions_user_persona_key", f"insert into sessions(user_account_id, persona_id) select $1, ({PERSONA})"),
        ("credit_entries_account_id_fkey", f"{ENTRY} values ($1 + 1000000000, 1, 1, 'grant')"),
    ],
)
async def test_the_second_wall_holds_where_a_rule_would_fail(
    owner: Any, people: People, constraint: str, sql: str
) -> None:
    user, _, _ = await people.chat()
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as raised:
        await owner.execute(sql, user.id)
    assert raised.value.constraint_name == constraint


async def _found(book: Book, account_id: int) -> credits.Mismatch | None:
    books = await credits.audit(book)
    assert (f"(account {account_id})" in words(books)) == any(
        each.account_id == account_id for each in books.mismatches
    )
    return next((each for each in books.mismatches if each.account_id == account_id), None)


async def test_books_that_balance_are_not_complained_about(book: Book, people: People) -> None:
    user, _, _ = await people.chat()
    nobody = await people.user(credits=0)
    assert await _found(book, user.id) is None
    assert await _found(book, nobody.id) is None
    books = await credits.audit(book)
    assert books.entries > 0 and books.accounts > 1 and books.credits >= 100


@pytest.mark.parametrize("stolen", [1, -1, 1_000_000])
async def test_a_balance_tampered_by_hand_names_the_account(
    book: Book, owner: Any, people: People, stolen: int
) -> None:
    user, bystander = await people.user(100), await people.user(100)
    tamper = "update accounts set credit_balance = credit_balance + $2 where id = $1"
    await owner.execute(tamper, user.id, stolen)
    try:
        found = await _found(book, user.id)
        assert found is not None
        assert (found.credit_balance, found.entries_sum, found.email) == (100 + stolen, 100, user.email)
        assert "balance" in found.problem
        assert await _found(book, bystander.id) is None
    finally:
        await owner.execute(tamper, user.id, -stolen)
    assert await _found(book, user.id) is None


async def test_a_booking_and_its_record_are_one(book: Book, people: People) -> None:
    user, admin = await people.user(100), await people.admin()
    entry = await credits.grant(book, credits.Grant(user.id, -5, "adjustment", None, "x", admin.id, None))
    assert entry is not None
    assert await credits.grant(book, credits.Grant(user.id, -500, "adjustment", None, "x", admin.id, None)) is None
    query = audit.AuditQuery(admin.id, "account", user.id, None, None, None, 9)
    (record,) = await audit.search(book, query)
    assert (record.action, record.detail) == ("credits.adjustment", {"amount": -5, "entry_id": entry.id})


async def test_only_a_user_opens_a_session_and_only_staff_own_a_persona_whatever_was_read_before(
    book: Book, people: People
) -> None:
    user, staff = await people.user(), await people.staff()
    persona = await people.persona(staff)
    assert await sessions.open_(book, staff.id, persona) == sessions.Opened("forbidden", None)
    await accounts.change(book, user.id, None, "suspended", None)
    assert await sessions.open_(book, user.id, persona) == sessions.Opened("suspended", None)
    fields = {
        "name": "結衣",
        "avatar_url": "",
        "bio": "",
        "attributes": {},
        "guide": "",
        "is_active": True,
        "message_cost": 1,
    }
    assert await personas.create(book, user.id, fields) is None


@pytest.fixture
async def unguarded(owner: Any) -> Any:
    """A connection whose owner has switched the database's own guards off, as only a thief would."""
    await owner.execute("set session_replication_role = replica")
    return owner


async def test_an_entry_rewritten_behind_the_guards_back_names_the_account(
    book: Book, unguarded: Any, people: People
) -> None:
    user = await people.user(100)
    await credits.grant(book, credits.Grant(user.id, 5, "grant", None, "x", None, None))
    assert await balance(book, user.id) == (105, 105)
    rewrite = "update credit_entries set balance_after = balance_after + $2 where account_id = $1 and amount = 100"
    await unguarded.execute(rewrite, user.id, 7)
    found = await _found(book, user.id)
    assert found is not None and "running sum" in found.problem
    await unguarded.execute(rewrite, user.id, -7)
    assert await _found(book, user.id) is None


async def test_a_paid_message_without_its_entry_names_the_account(book: Book, unguarded: Any, people: People) -> None:
    user, _, session = await people.chat()
    sql = """insert into messages(session_id, sender_type, sender_id, content, credit_cost, prev_id, author_account_id,
      idempotency_key) values ($1, 'user', $2, 'x', 3, 0, $2, 'k') returning id"""
    message = await unguarded.fetchval(sql, session, user.id)
    found = await _found(book, user.id)
    assert found is not None and "no entry" in found.problem
    await unguarded.execute("delete from messages where id = $1", message)
    assert await _found(book, user.id) is None
