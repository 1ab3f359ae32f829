"""/accounts: looking after people, without locking oneself out."""

import asyncio
import secrets
from typing import Any

import pytest

from storage import accounts, audit
from tests.people import PASSWORD, Answer, Client, Person
from tests.routes.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _admin(house: House) -> Client:
    return house.desk(await house.people.admin())


async def _search(admin: Client, query: str, limit: int = 50) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await admin.get(f"/accounts?limit={limit}&{query}{cursor}")).done()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def test_accounts_are_found_by_a_part_of_address_or_name_in_any_case(house: House) -> None:
    admin = await _admin(house)
    mark = secrets.token_hex(6)
    named = [await house.people.make("user", name=f"山田 {mark} {n}") for n in range(7)]
    for q in (mark, mark.upper(), f"山田 {mark}"):
        found = await _search(admin, f"q={q}", limit=3)
        assert [account["id"] for account in found] == [person.id for person in named[::-1]], "newest first"
    (one,) = await _search(admin, f"q={named[3].email.upper()}")
    assert one == (await admin.get(f"/accounts/{named[3].id}")).done()
    assert set(one) == set((await house.desk(named[3]).get("/auth/me")).json)
    assert "hashed_password" not in one


@pytest.mark.parametrize("q", ["%", "_", "\\", "%25", "a%'b", '";--'])
async def test_what_is_searched_is_no_pattern_and_no_sql(house: House, q: str) -> None:
    admin = await _admin(house)
    mark = secrets.token_hex(6)
    odd = await house.people.make("user", name=f"{mark}{q}{mark}")
    await house.people.make("user", name=f"{mark}x{mark}")
    page = await admin.http.get(
        f"{admin.url}/api/v1/accounts", params={"q": f"{mark}{q}"}, headers={"Authorization": f"Bearer {admin.token}"}
    )
    assert [account["id"] for account in (await page.json())["items"]] == [odd.id]


async def test_accounts_are_found_by_role_and_status(house: House) -> None:
    admin = await _admin(house)
    mark = secrets.token_hex(6)
    people = {role: await house.people.make(role, name=mark) for role in ("user", "staff", "admin")}
    await accounts.change(house.book, people["user"].id, None, "suspended", None)
    for query, expected in {
        "role=staff": ["staff"], "role=user": ["user"], "status=active": ["admin", "staff"],
        "status=suspended": ["user"], "status=suspended&role=admin": [],
    }.items():  # fmt: skip
        found = await _search(admin, f"q={mark}&{query}", limit=1)
        assert sorted(account["role"] for account in found) == expected


async def test_an_admin_makes_accounts_of_any_role(house: House) -> None:
    admin = await house.people.admin()
    for role in ("user", "staff", "admin"):
        email = f"{secrets.token_hex(6)}@example.com"
        body = {"email": email, "password": "long enough", "display_name": " 花子 ", "role": role}
        made = (await house.desk(admin).post("/accounts", body)).done(201)
        assert (made["role"], made["display_name"], made["status"], made["credit_balance"]) == (
            role,
            "花子",
            "active",
            0,
        )
        (await house.desk(admin).post("/accounts", {**body, "email": email.upper()})).refused(409, "email_taken")
        (record,) = await _log(house, made["id"])
        assert (record.action, record.actor_account_id, record.detail) == ("account.create", admin.id, {"role": role})
    assert (await house.guest().post("/auth/login", {"email": email, "password": "long enough"})).status == 200


async def _log(house: House, account_id: int) -> list[Any]:
    found = await audit.search(house.book, audit.AuditQuery(None, "account", account_id, None, None, None, 20))
    return list(found)


async def test_each_change_by_an_admin_is_written_down(house: House) -> None:
    admin, staff = await house.people.admin(), await house.people.staff()
    desk = house.desk(admin)
    path = f"/accounts/{staff.id}"
    assert (await desk.patch(path, {"status": "suspended"})).done()["status"] == "suspended"
    assert (await desk.patch(path, {"status": "active", "display_name": "新しい 名"})).done()[
        "display_name"
    ] == "新しい 名"
    assert (await desk.patch(path, {"role": "admin"})).done()["role"] == "admin"
    assert (await desk.patch(path, {"role": "admin"})).status == 200, "changes nothing"
    assert (await desk.patch(path, {})).status == 200
    assert (await desk.delete(f"{path}/logins")).done() == {"revoked": 0}
    records = [(record.action, record.detail) for record in await _log(house, staff.id)]
    assert records == [
        ("account.logout", {"revoked": 0}),
        ("account.role", {"was": "staff", "now": "admin"}),
        ("account.display_name", {"was": "staff 太郎", "now": "新しい 名"}),
        ("account.activate", {"was": "suspended", "now": "active"}),
        ("account.suspend", {"was": "active", "now": "suspended"}),
    ]
    assert {record.actor_account_id for record in await _log(house, staff.id)} == {admin.id}


async def test_an_account_is_logged_out_everywhere(house: House) -> None:
    admin, user = await _admin(house), await house.people.user()
    again = (await house.guest().post("/auth/login", {"email": user.email, "password": PASSWORD})).json["token"]
    assert (await admin.delete(f"/accounts/{user.id}/logins")).done() == {"revoked": 2}
    for token in (user.token, again):
        (await Client(house.http, house.here.url, token).get("/auth/me")).refused(401, "unauthenticated")
    assert (await house.guest().post("/auth/login", {"email": user.email, "password": PASSWORD})).status == 200


async def test_a_new_role_logs_the_account_out(house: House) -> None:
    admin, user = await _admin(house), await house.people.user()
    assert (await admin.patch(f"/accounts/{user.id}", {"role": "staff"})).done()["role"] == "staff"
    (await house.desk(user).get("/auth/me")).refused(401, "unauthenticated")


async def _alone(house: House) -> tuple[Person, list[int]]:
    """Give an admin who is the only active one, and the ids of those who were made to rest meanwhile."""
    only = await house.people.admin()
    sql = """update accounts set status = 'suspended' where role = 'admin' and status = 'active' and id <> $1
    returning id"""
    return only, [row[0] for row in await house.book.fetch(sql, only.id)]


async def _wake(house: House, ids: list[int]) -> None:
    await house.book.fetch("update accounts set status = 'active' where id = any($1)", ids)


async def test_the_last_active_admin_can_neither_be_suspended_nor_demoted(house: House) -> None:
    only, resting = await _alone(house)
    try:
        desk = house.desk(only)
        for change in (
            {"status": "suspended"},
            {"role": "staff"},
            {"role": "user"},
            {"role": "user", "status": "suspended"},
        ):
            (await desk.patch(f"/accounts/{only.id}", change)).refused(409, "last_admin")
        assert (await desk.patch(f"/accounts/{only.id}", {"display_name": "残る人", "role": "admin"})).status == 200
        other = await house.people.admin()
        assert (await desk.patch(f"/accounts/{other.id}", {"status": "suspended"})).status == 200
        (await desk.patch(f"/accounts/{only.id}", {"status": "suspended"})).refused(409, "last_admin")
    finally:
        await _wake(house, resting)


async def test_two_admins_who_suspend_each_other_at_once_cannot_both_succeed(house: House) -> None:
    for _ in range(5):
        only, resting = await _alone(house)
        other = await house.people.admin()
        try:
            mutual = await asyncio.gather(
                only.via(house.here).patch(f"/accounts/{other.id}", {"status": "suspended"}),
                other.via(house.there).patch(f"/accounts/{only.id}", {"status": "suspended"}),
            )
            left = await house.book.fetchval("select count(*) from accounts where role = 'admin' and status = 'active'")
            assert left >= 1, [answer.raw for answer in mutual]
        finally:
            await _wake(house, [*resting, only.id])


async def test_a_role_that_would_leave_chats_without_a_desk_is_refused(house: House) -> None:
    admin = await _admin(house)
    user, staff, _ = await house.people.chat()
    changes: list[tuple[Person, str]] = [(staff, "user"), (staff, "admin"), (user, "staff"), (user, "admin")]
    for person, role in changes:
        (await admin.patch(f"/accounts/{person.id}", {"role": role})).refused(422, "validation_failed", "role")
        assert (await house.desk(person).get("/auth/me")).json["role"] == person.role


async def test_what_an_account_cannot_be_is_named(house: House) -> None:
    admin, user = await _admin(house), await house.people.user()
    answers: list[tuple[Answer, str]] = [
        (await admin.patch(f"/accounts/{user.id}", {"role": "owner"}), "role"),
        (await admin.patch(f"/accounts/{user.id}", {"status": "gone"}), "status"),
        (await admin.patch(f"/accounts/{user.id}", {"display_name": "  "}), "display_name"),
        (await admin.patch(f"/accounts/{user.id}", {"email": "x@example.com"}), "email"),
        (await admin.patch(f"/accounts/{user.id}", {"credit_balance": 1_000_000}), "credit_balance"),
    ]
    for answer, field in answers:
        answer.refused(422, "validation_failed", field)
