"""Personas: who sees which, what one may be, and what a message costs."""

import re
from typing import Any

import pytest

from tests.people import Client, lasting
from tests.routes.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOR_USERS = {"id", "name", "avatar_url", "bio", "attributes", "is_active", "message_cost", "online"}
FOR_STAFF = FOR_USERS | {"staff_account_id", "guide"}


async def _all(client: Client) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    cursor = ""
    while True:
        page = (await client.get(f"/personas?limit=40{cursor}")).done()
        found |= {item["id"]: item for item in page["items"]}
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def test_users_see_active_ones_staff_their_own_too_and_admins_all(house: House) -> None:
    own, other = await house.people.staff(), await house.people.staff()
    active = await house.people.persona(own)
    resting = await house.people.persona(own, is_active=False)
    for person, sees in (
        (await house.people.user(), {active}),
        (other, {active}),
        (own, {active, resting}),
        (await house.people.admin(), {active, resting}),
    ):
        desk = house.desk(person)
        listed = await _all(desk)
        assert set(listed) & {active, resting} == sees
        for persona in (active, resting):
            shown = await desk.get(f"/personas/{persona}")
            if persona not in sees:
                shown.refused(404, "not_found")
                continue
            assert lasting(shown.done()) == lasting(listed[persona])
            assert set(shown.json) == (FOR_USERS if person.role == "user" else FOR_STAFF)


async def test_pages_show_each_persona_once(house: House) -> None:
    staff, user = await house.people.staff(), await house.people.user()
    made = [await house.people.persona(staff) for _ in range(45)]
    listed = await _all(house.desk(user))
    assert set(made) <= set(listed)
    assert list(listed) == sorted(listed)


async def test_staff_create_their_own(house: House) -> None:
    staff = await house.people.staff()
    given = {
        "name": "  結衣   さん ", "avatar_url": "/avatars/yui.png", "bio": "海が好き", "guide": "敬語で",
        "attributes": {"age": 24, "height": 158.5, "hobby": "読書", "smokes": False, "secret": None},
        "is_active": False, "message_cost": 12,
    }  # fmt: skip
    made = (await house.desk(staff).post("/personas", given)).done(201)
    assert lasting(made) == {**given, "name": "結衣 さん", "id": made["id"], "staff_account_id": staff.id}
    assert lasting((await house.desk(staff).get(f"/personas/{made['id']}")).json) == lasting(made)
    least = (await house.desk(staff).post("/personas", {"name": "海斗"})).done(201)
    assert (least["message_cost"], least["is_active"], least["attributes"], least["guide"]) == (1, True, {}, "")
    foreign = {"name": "海斗", "staff_account_id": (await house.people.staff()).id}
    (await house.desk(staff).post("/personas", foreign)).refused(422, "validation_failed", "staff_account_id")


async def test_an_admin_creates_one_for_a_staff_account(house: House) -> None:
    admin, staff = house.desk(await house.people.admin()), await house.people.staff()
    made = (await admin.post("/personas", {"name": "海斗", "staff_account_id": staff.id})).done(201)
    assert made["staff_account_id"] == staff.id
    user = await house.people.user()
    for wrong in ({}, {"staff_account_id": user.id}, {"staff_account_id": 2**63 - 1}):
        answer = await admin.post("/personas", {"name": "海斗", **wrong})
        answer.refused(422, "validation_failed", "staff_account_id")


BAD: list[tuple[str, Any]] = [
    ("name", ""), ("name", " \n "), ("name", "長" * 61), ("bio", "x" * 2_001), ("guide", "x" * 4_001),
    ("message_cost", -1), ("message_cost", 1_001), ("message_cost", 2**31), ("message_cost", 1.5),
    ("attributes", {"a": []}), ("attributes", {"a": {}}), ("attributes", {str(n): n for n in range(51)}),
    ("attributes", {"a": "\0"}), ("attributes", {"\0": 1}),
    ("avatar_url", "https://evil.example/a.png"), ("avatar_url", "//evil.example/a.png"),
    ("avatar_url", "/\\evil.example"),
    ("avatar_url", "/\t/evil.example"), ("avatar_url", "/\n/evil.example"), ("avatar_url", "a.png"),
    ("avatar_url", "javascript:alert(1)"), ("avatar_url", "/a b"), ("avatar_url", "/" + "a" * 500),
    ("avatar_url", "/a\n"), ("is_active", "yes"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD, ids=lambda part: repr(part)[:30])
async def test_what_a_persona_cannot_be_is_named(house: House, field: str, value: Any) -> None:
    staff = await house.people.staff()
    persona = await house.people.persona(staff)
    for answer in (
        await house.desk(staff).post("/personas", {"name": "結衣", field: value}),
        await house.desk(staff).patch(f"/personas/{persona}", {field: value}),
    ):
        (named,) = answer.refused(422, "validation_failed").fields
        assert re.split(r"[.\[]", named)[0] == field


async def test_a_number_that_nothing_can_hold_is_no_attribute(house: House) -> None:
    staff = await house.people.staff()
    for number in ("1e999", "-1e999", "9" * 5_000):
        raw = b'{"name": "x", "attributes": {"a": ' + number.encode() + b"}}"
        answer = await house.desk(staff).call("POST", "/personas", raw=raw)
        (field,) = answer.refused(422, "validation_failed").fields
        assert field.startswith("attributes")


async def test_the_price_may_be_nothing_up_to_the_settings_maximum(house: House) -> None:
    dear = await house.replica(message_cost_max=5, limits="off")
    staff = await house.people.staff()
    desk = staff.via(dear)
    for cost in (0, 5):
        assert (await desk.post("/personas", {"name": "x", "message_cost": cost})).done(201)["message_cost"] == cost
    persona = await house.people.persona(staff)
    (await desk.post("/personas", {"name": "x", "message_cost": 6})).refused(422, "validation_failed", "message_cost")
    (await desk.patch(f"/personas/{persona}", {"message_cost": 6})).refused(422, "validation_failed", "message_cost")


async def test_only_what_is_given_is_changed(house: House) -> None:
    staff = await house.people.staff()
    persona = await house.people.persona(staff, cost=3, bio="元のまま", attributes={"age": 24})
    before = lasting((await house.desk(staff).get(f"/personas/{persona}")).json)
    after = {**before, "name": "新しい"}
    for change in ({"name": "新しい"}, {}, {"bio": None}):
        assert lasting((await house.desk(staff).patch(f"/personas/{persona}", change)).done()) == after
    emptied = (await house.desk(staff).patch(f"/personas/{persona}", {"bio": "", "attributes": {}})).done()
    assert (emptied["bio"], emptied["attributes"]) == ("", {})


async def test_somebody_elses_persona_is_not_found_to_be_edited(house: House) -> None:
    staff, other, admin = await house.people.staff(), await house.people.staff(), await house.people.admin()
    persona = await house.people.persona(staff)
    for change in ({"name": "乗っ取り"}, {"staff_account_id": other.id}, {}):
        (await house.desk(other).patch(f"/personas/{persona}", change)).refused(404, "not_found")
    assert (await house.desk(admin).patch(f"/personas/{persona}", {"name": "承認"})).done()["name"] == "承認"


async def test_a_new_price_counts_from_the_next_message(house: House) -> None:
    user, staff, session = await house.people.chat(cost=1)
    persona = (await house.desk(user).get(f"/sessions/{session}")).json["persona"]["id"]
    assert (await house.desk(user).send(session, "一")).json["credit_balance"] == 99
    (await house.desk(staff).patch(f"/personas/{persona}", {"message_cost": 10})).done()
    assert (await house.desk(user).get(f"/sessions/{session}")).json["persona"]["message_cost"] == 10
    assert (await house.desk(user).send(session, "二")).json["credit_balance"] == 89
