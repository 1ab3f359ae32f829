"""Credits: what admins book, what is paid back, and the statement that shows it."""

import asyncio
import secrets
from itertools import pairwise
from typing import Any

import pytest

from storage import audit
from tests.people import Answer, Client, Person, balance
from tests.routes.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIELDS = {
    "id", "amount", "balance_after", "kind", "message_id", "session_id", "persona", "note", "created_at",
}  # fmt: skip


async def _grant(admin: Client, account: Person, amount: int, key: str | None = None, **more: Any) -> Answer:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await admin.post(
        "/credits/grants", {"account_id": account.id, "amount": amount, "note": "お礼", **more}, **headers
    )


@pytest.mark.parametrize(("kind", "amount"), [("grant", 50), ("purchase", 50), ("adjustment", 50), ("adjustment", -30)])
async def test_a_booking_is_an_entry_and_a_balance(house: House, kind: str, amount: int) -> None:
    user, admin = await house.people.user(100), await house.people.admin()
    entry = (await _grant(house.desk(admin), user, amount, kind=kind)).done(201)
    assert set(entry) == FIELDS
    assert (entry["amount"], entry["balance_after"], entry["kind"], entry["note"]) == (
        amount,
        100 + amount,
        kind,
        "お礼",
    )
    assert (entry["message_id"], entry["session_id"], entry["persona"]) == (None, None, None)
    assert await balance(house.book, user.id) == (100 + amount, 100 + amount)
    mine = (await house.desk(user).get("/credits")).done()
    assert mine == {"account_id": user.id, "credit_balance": 100 + amount, "credit_entry_id": entry["id"]}
    assert (await house.desk(user).get("/credits/entries")).items[0] == entry
    me = (await house.desk(user).get("/auth/me")).json
    assert (me["credit_balance"], me["credit_entry_id"]) == (100 + amount, entry["id"])
    query = audit.AuditQuery(admin.id, "account", user.id, f"credits.{kind}", None, None, 9)
    (record,) = await audit.search(house.book, query)
    assert record.detail == {"amount": amount, "entry_id": entry["id"]}


@pytest.mark.parametrize(
    ("kind", "amount"), [("grant", 0), ("grant", -1), ("purchase", -1), ("purchase", 0), ("adjustment", 0)]
)
async def test_only_an_adjustment_may_be_negative_and_nothing_is_nothing(house: House, kind: str, amount: int) -> None:
    user, admin = await house.people.user(), house.desk(await house.people.admin())
    (await _grant(admin, user, amount, kind=kind)).refused(422, "validation_failed", "amount")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", 10**9 + 1),
        ("amount", -(10**9) - 1),
        ("note", ""),
        ("note", "x" * 501),
        ("reference", ""),
        ("kind", "message"),
        ("kind", "refund"),
        ("account_id", 2**63 - 1),
    ],
)
async def test_what_cannot_be_booked_is_named(house: House, field: str, value: Any) -> None:
    user, admin = await house.people.user(), house.desk(await house.people.admin())
    (await _grant(admin, user, **{"amount": 1, field: value})).refused(422, "validation_failed", field)
    assert await balance(house.book, user.id) == (100, 100)


async def test_no_balance_falls_below_zero_or_grows_beyond_bounds(house: House) -> None:
    user, admin = await house.people.user(100), house.desk(await house.people.admin())
    refused = (await _grant(admin, user, -101, kind="adjustment")).refused(409, "balance_too_low")
    assert refused.json["credit_balance"] == 100
    assert (await _grant(admin, user, -100, kind="adjustment")).done(201)["balance_after"] == 0
    for _ in range(2):
        assert (await _grant(admin, user, 10**9)).status == 201
    (await _grant(admin, user, 10**9)).refused(422, "validation_failed", "amount")
    assert await balance(house.book, user.id) == (2 * 10**9, 2 * 10**9)


async def test_many_adjustments_at_once_take_no_more_than_there_is(house: House) -> None:
    user, admin = await house.people.user(50), await house.people.admin()
    doors = [admin.via(house.here), admin.via(house.there)]
    answers = await asyncio.gather(*(_grant(doors[n % 2], user, -20, kind="adjustment") for n in range(6)))
    assert sorted(answer.status for answer in answers) == [201, 201, 409, 409, 409, 409]
    assert await balance(house.book, user.id) == (10, 10)


async def test_the_same_key_books_once_for_ever(house: House) -> None:
    user, admin = await house.people.user(0), await house.people.admin()
    doors = [admin.via(house.here), admin.via(house.there)]
    answers = await asyncio.gather(*(_grant(doors[n % 2], user, 10, "gift") for n in range(8)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.raw for answer in answers}) == 1
    assert sum(answer.headers.get("Idempotent-Replayed") == "true" for answer in answers) == 7
    assert await balance(house.book, user.id) == (10, 10)
    others: tuple[dict[str, Any], ...] = ({"amount": 11}, {"note": "別"}, {"kind": "purchase"}, {"reference": "r"})
    for other in others:
        (await _grant(doors[0], user, **{"amount": 10, "key": "gift", **other})).refused(422, "idempotency_key_reused")
    (await _grant(doors[0], await house.people.user(), 10, "gift")).refused(422, "idempotency_key_reused")
    colleague = house.desk(await house.people.admin())
    assert "Idempotent-Replayed" not in (await _grant(colleague, user, 10, "gift")).headers, "keys are each admin's own"


async def test_what_was_taken_once_is_replayed_even_when_it_would_not_fit_again(house: House) -> None:
    user, admin = await house.people.user(30), house.desk(await house.people.admin())
    first = await _grant(admin, user, -30, "fine", kind="adjustment")
    again = await _grant(admin, user, -30, "fine", kind="adjustment")
    assert (first.done(201), again.raw, again.headers["Idempotent-Replayed"]) == (first.json, first.raw, "true")


async def test_a_reference_is_booked_once_for_each_kind(house: House) -> None:
    user, admin = await house.people.user(0), house.desk(await house.people.admin())
    reference = f"order-{secrets.token_hex(8)}"
    assert (await _grant(admin, user, 10, kind="purchase", reference=reference)).status == 201
    for who, key in ((user, None), (user, "k"), (await house.people.user(), None)):
        again = await _grant(admin, who, 10, key, kind="purchase", reference=reference)
        again.refused(422, "validation_failed", "reference")
    assert (await _grant(admin, user, 10, kind="grant", reference=reference)).status == 201
    assert await balance(house.book, user.id) == (20, 20)


async def test_a_key_that_is_no_key_is_named(house: House) -> None:
    user, admin = await house.people.user(), house.desk(await house.people.admin())
    for key in ("", "é", "x" * 256):
        (await _grant(admin, user, 1, key)).refused(422, "validation_failed", "Idempotency-Key")


async def test_each_debit_of_a_statement_names_its_message_and_persona(house: House) -> None:
    user, admin = await house.people.user(100), house.desk(await house.people.admin())
    staff = await house.people.staff()
    persona = await house.people.persona(staff, cost=7, name="海斗")
    session = await house.people.session(user, persona)
    sent = (await house.desk(user).send(session, "質問")).done(201)
    message = sent["message"]["id"]
    refund = (await admin.post(f"/messages/{message}/refund", {"note": "お詫び"})).done(201)
    back, debit, opening = (await house.desk(user).get("/credits/entries")).items
    assert back == refund
    for entry, kind, amount, after in ((debit, "message", -7, 93), (back, "refund", 7, 100)):
        assert (entry["kind"], entry["amount"], entry["balance_after"]) == (kind, amount, after)
        assert (entry["message_id"], entry["session_id"]) == (message, session)
        assert entry["persona"] == {"id": persona, "name": "海斗"}
    assert (debit["id"], debit["created_at"]) == (sent["credit_entry_id"], sent["message"]["created_at"])
    assert (back["note"], opening["kind"], opening["persona"]) == ("お詫び", "grant", None)


async def test_what_cost_nothing_is_not_paid_back(house: House) -> None:
    user, staff, session = await house.people.chat(cost=0)
    admin = house.desk(await house.people.admin())
    free = (await house.desk(user).send(session, "無料")).json["message"]["id"]
    answer = (await house.desk(staff).send(session, "答え")).json["message"]["id"]
    for message in (free, answer):
        (await admin.post(f"/messages/{message}/refund", {"note": "x"})).refused(422, "validation_failed")
    (await admin.post(f"/messages/{2**63 - 1}/refund", {"note": "x"})).refused(404, "not_found")


async def test_a_second_refund_answers_the_first_entry_whoever_asks(house: House) -> None:
    user, _, session = await house.people.chat(cost=4)
    message = (await house.desk(user).send(session, "質問")).json["message"]["id"]
    first, second = await house.people.admin(), await house.people.admin()
    paid = await house.desk(first).post(f"/messages/{message}/refund", {"note": "お詫び"})
    again = await house.desk(second).post(f"/messages/{message}/refund", {"note": "もう一度"})
    assert (paid.status, again.status, again.raw) == (201, 200, paid.raw)
    query = audit.AuditQuery(None, "message", message, "message.refund", None, None, 9)
    (record,) = await audit.search(house.book, query)
    assert (record.actor_account_id, record.detail) == (first.id, {"amount": 4})


async def test_a_statement_comes_in_pages_newest_first(house: House) -> None:
    user, _, session = await house.people.chat(credits=100)
    sent = await asyncio.gather(*(house.desk(user).send(session, f"{n}") for n in range(23)))
    entries = sorted((answer.json["credit_entry_id"] for answer in sent), reverse=True)
    seen: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await house.desk(user).get(f"/credits/entries?limit=6{cursor}")).done()
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        assert len(page["items"]) == 6
        cursor = f"&cursor={page['next_cursor']}"
    assert [entry["id"] for entry in seen[:-1]] == entries
    assert len(seen) == 24
    for newer, older in pairwise(seen):
        assert newer["balance_after"] == older["balance_after"] + newer["amount"]
    exactly = (await house.desk(user).get("/credits/entries?limit=24")).done()
    assert (len(exactly["items"]), exactly["next_cursor"]) == (24, None)


async def test_only_an_admin_sees_other_peoples_credits(house: House) -> None:
    user, staff, admin = await house.people.user(33), await house.people.staff(), await house.people.admin()
    for path in ("/credits", "/credits/entries"):
        for other in (staff, await house.people.user()):
            (await house.desk(other).get(f"{path}?account_id={user.id}")).refused(404, "not_found")
        assert (await house.desk(user).get(f"{path}?account_id={user.id}")).raw == (
            await house.desk(user).get(path)
        ).raw
        shown = await house.desk(admin).get(f"{path}?account_id={user.id}")
        assert shown.raw == (await house.desk(user).get(path)).raw
        (await house.desk(admin).get(f"{path}?account_id={2**63 - 1}")).refused(404, "not_found")
    own = (await house.desk(staff).get("/credits")).done()
    assert (own["credit_balance"], own["credit_entry_id"]) == (0, 0)
    assert (await house.desk(staff).get("/credits/entries")).items == []
