"""The audit log, the house at a glance, and the staff to hand over to."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from storage import accounts
from tests.people import Client
from tests.routes.conftest import House
from tests.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _records(client: Client, query: str, limit: int = 50) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = (await client.get(f"/audit?limit={limit}&{query}{cursor}")).done()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def test_an_admins_reading_of_a_chat_is_written_down_and_nobody_elses(house: House) -> None:
    user, staff, session = await house.people.chat()
    await house.desk(user).send(session, "ないしょの話")
    admin = await house.people.admin()
    for person in (user, staff, admin):
        rows = (await house.desk(person).get(f"/messages?session_id={session}")).items
        assert [row["content"] for row in rows] == ["ないしょの話"]
    (record,) = await _records(house.desk(admin), f"subject_type=session&subject_id={session}")
    assert set(record) == {"id", "actor_account_id", "action", "subject_type", "subject_id", "detail", "created_at"}
    assert (record["actor_account_id"], record["action"]) == (admin.id, "session.read")
    assert "ないしょ" not in str(record)
    (await house.desk(admin).get(f"/messages?session_id={2**63 - 1}")).refused(404, "not_found")


async def test_what_staff_do_with_personas_is_written_down(house: House) -> None:
    staff, heir, admin = await house.people.staff(), await house.people.staff(), await house.people.admin()
    persona = (await house.desk(staff).post("/personas", {"name": "結衣", "guide": "ひみつの指南"})).json["id"]
    await house.desk(admin).patch(f"/personas/{persona}", {"message_cost": 3, "bio": "海が好き"})
    await house.desk(staff).patch(f"/personas/{persona}", {"staff_account_id": heir.id})
    records = await _records(house.desk(admin), f"subject_type=persona&subject_id={persona}", limit=1)
    assert [(record["action"], record["actor_account_id"], record["detail"]) for record in records] == [
        ("persona.hand_over", staff.id, {"was": staff.id, "now": heir.id}),
        ("persona.edit", admin.id, {"fields": ["bio", "message_cost"]}),
        ("persona.create", staff.id, {"staff_account_id": staff.id}),
    ]


async def test_the_log_is_filtered_by_who_what_to_whom_and_since_when(house: House) -> None:
    admin, other = await house.people.admin(), await house.people.admin()
    users = [await house.people.user() for _ in range(4)]
    for n, user in enumerate(users):
        by = house.desk((admin, other)[n % 2])
        await by.patch(f"/accounts/{user.id}", {"status": "suspended"})
        await by.patch(f"/accounts/{user.id}", {"status": "active"})
    desk = house.desk(admin)
    mine = await _records(desk, f"actor_id={admin.id}", limit=1)
    assert [record["subject_id"] for record in mine] == [users[2].id, users[2].id, users[0].id, users[0].id]
    assert [r["action"] for r in await _records(desk, f"actor_id={other.id}&action=account.suspend")] == [
        "account.suspend"
    ] * 2
    newest = mine[0]
    since = quote(newest["created_at"])
    assert newest["id"] in [record["id"] for record in await _records(desk, f"actor_id={admin.id}&since={since}")]
    assert mine[-1]["id"] not in [record["id"] for record in await _records(desk, f"actor_id={admin.id}&since={since}")]
    tomorrow = quote((datetime.now(UTC) + timedelta(days=1)).isoformat())
    assert await _records(desk, f"since={tomorrow}") == []
    in_tokyo = quote(datetime.fromisoformat(newest["created_at"]).astimezone(None).isoformat())
    assert newest["id"] in [record["id"] for record in await _records(desk, f"actor_id={admin.id}&since={in_tokyo}")]
    for wrong in (
        "2026-01-01T00:00:00",
        "yesterday",
        quote("0001-01-01T00:00:00+14:00"),
        quote("9999-12-31T23:59:59-14:00"),
    ):
        (await desk.get(f"/audit?since={wrong}")).refused(422, "validation_failed", "since")


async def test_the_house_at_a_glance(house: House) -> None:
    admin = house.desk(await house.people.admin())
    before = (await admin.get("/stats")).done()
    assert set(before) == {
        "accounts", "online", "sockets", "active_sessions", "waiting", "longest_waiting_since", "sends_last_minute",
        "median_response_seconds", "p90_response_seconds", "credits_outstanding", "credits_spent_today",
    }  # fmt: skip
    user, staff, session = await house.people.chat(credits=50, cost=5)
    await house.desk(user).send(session, "質問")
    await house.desk(user).send(session, "まだですか")
    waiting = (await admin.get("/stats")).done()
    await house.desk(staff).send(session, "はい")
    after = (await admin.get("/stats")).done()
    assert (waiting["accounts"], waiting["active_sessions"]) == (before["accounts"] + 2, before["active_sessions"] + 1)
    assert (waiting["waiting"], after["waiting"]) == (before["waiting"] + 1, before["waiting"])
    assert waiting["longest_waiting_since"] is not None
    assert after["sends_last_minute"] == before["sends_last_minute"] + 3
    assert after["credits_outstanding"] == before["credits_outstanding"] + 40
    assert after["credits_spent_today"] == before["credits_spent_today"] + 10
    assert 0 <= after["median_response_seconds"] <= after["p90_response_seconds"]


async def test_staff_see_whom_they_can_hand_over_to(house: House) -> None:
    user, staff, session = await house.people.chat()
    resting = await house.people.staff()
    await accounts.change(house.book, resting.id, None, "suspended", None)
    away = await house.people.staff()
    await house.desk(user).send(session, "質問")

    async def is_online() -> bool:
        listed = {member["id"]: member for member in (await house.desk(staff).get("/staff")).items}
        return bool(listed[staff.id]["online"])

    await until(is_online)
    listed = {member["id"]: member for member in (await house.desk(staff).get("/staff")).items}
    assert resting.id not in listed and user.id not in listed
    assert set(listed[staff.id]) == {"id", "display_name", "online", "site", "waiting"}
    assert (listed[staff.id]["waiting"], listed[staff.id]["site"]) == (1, None)
    assert (listed[away.id]["online"], listed[away.id]["waiting"]) == (False, 0)
    assert (await house.desk(await house.people.admin()).get("/staff")).status == 200


async def test_a_site_is_shown_of_who_came_through_its_node(house: House) -> None:
    behind = await house.replica(node_secret="node", limits="off")
    staff = await house.people.staff()
    node = {"X-Node-Secret": "node", "X-Site": "osaka", "X-Entry": "staff"}
    body = {"email": staff.email, "password": "correct horse"}
    token = (await house.guest(behind, **node).post("/auth/login", body)).done()["token"]
    client = Client(house.http, behind.url, token, node)

    async def is_shown() -> bool:
        listed = {member["id"]: member for member in (await client.get("/staff")).items}
        return bool(listed[staff.id]["site"] == "osaka")

    await until(is_shown)


async def test_who_is_online_is_seen_by_the_other_side(house: House) -> None:
    user, staff, session = await house.people.chat()

    async def both_are() -> bool:
        shown = [(await house.desk(person).get(f"/sessions/{session}")).json for person in (user, staff)]
        return bool(shown[0]["persona"]["online"] and shown[1]["user"]["online"])

    await until(both_are)


async def test_the_operators_doors_need_no_login(house: House) -> None:
    guest = house.guest()
    assert (await guest.get("/healthz")).done() == {"status": "alive"}
    assert (await guest.call("HEAD", "/healthz")).status == 200
    ready = await guest.get("/readyz")
    assert ready.done()["status"] == "ready"
    metrics = await guest.get("/metrics")
    assert metrics.status == 200 and b"# HELP" in metrics.raw
    calls = await asyncio.gather(*(guest.get("/auth/me") for _ in range(3)))
    assert len({answer.headers["X-Request-Id"] for answer in calls}) == 3
