"""/sessions/changes: one call keeps hundreds of chats current for a client that only polls."""

import asyncio
from typing import Any

import pytest

from tests.people import Answer, Client, lasting
from tests.routes.conftest import House
from tests.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _changes(client: Client, known: dict[int, int], **headers: str) -> dict[str, Any]:
    body = {"known": {str(session): revision for session, revision in known.items()}}
    found: dict[str, Any] = (await client.post("/sessions/changes", body, **headers)).done()
    return found


async def _known(client: Client) -> dict[int, int]:
    return {item["id"]: item["revision"] for item in (await _changes(client, {}))["items"]}


async def test_who_knows_nothing_gets_everything_as_the_inbox_shows_it(house: House) -> None:
    user, staff, session = await house.people.chat()
    other = await house.people.session(user, await house.people.persona(staff))
    for client in (house.desk(user), house.desk(staff)):
        found = await _changes(client, {})
        assert lasting(found["items"]) == lasting((await client.get("/sessions")).items)
        assert {item["id"] for item in found["items"]} == {session, other}
        assert found["gone"] == []


async def test_who_knows_everything_gets_nothing(house: House) -> None:
    user, staff, _ = await house.people.chat()
    for client in (house.desk(user), house.desk(staff)):
        found = await _changes(client, await _known(client))
        assert (found["items"], found["gone"]) == ([], [])


async def test_each_lasting_change_is_told_to_both_sides(house: House) -> None:
    user, staff, session = await house.people.chat()
    customer, desk = house.desk(user), house.desk(staff)
    sides = (customer, desk)
    known = [await _known(side) for side in sides]
    persona = (await customer.get(f"/sessions/{session}")).json["persona"]["id"]
    message = 0

    async def ask() -> Answer:
        nonlocal message
        sent = await customer.send(session, "質問")
        message = sent.json["message"]["id"]
        return sent

    acts = {
        "a message": ask,
        "an answer": lambda: desk.send(session, "答え"),
        "the desk's reading": lambda: desk.put(f"/sessions/{session}/read", {"message_id": message}),
        "the user's reading": lambda: customer.put(f"/sessions/{session}/read", {"message_id": message}),
        "waiting": lambda: desk.post(f"/sessions/{session}/waiting", {"waiting": True}),
        "the close": lambda: desk.post(f"/sessions/{session}/close"),
        "opening again": lambda: customer.post("/sessions", {"persona_id": persona}),
    }
    for what, act in acts.items():
        assert (await act()).status in (200, 201)
        for n, side in enumerate(sides):
            (item,) = (await _changes(side, known[n]))["items"]
            assert item["revision"] == known[n][session] + 1, what
            known[n] = {session: item["revision"]}


async def test_what_changes_nothing_is_not_told(house: House) -> None:
    user, staff, session = await house.people.chat(credits=0)
    known = await _known(house.desk(user))
    for answer in (
        await house.desk(user).send(session, "お金がない"),
        await house.desk(user).put(f"/sessions/{session}/read", {"message_id": 0}),
        await house.desk(staff).post(f"/sessions/{session}/waiting", {"waiting": False}),
        await house.desk(user).get(f"/sessions/{session}"),
    ):
        assert answer.status in (200, 402)
    assert (await _changes(house.desk(user), known))["items"] == []


async def test_only_what_differs_comes_and_what_is_not_ones_own_is_gone(house: House) -> None:
    user, staff, session = await house.people.chat()
    quiet = await house.people.session(user, await house.people.persona(staff))
    _, _, foreign = await house.people.chat()
    known = {**await _known(house.desk(user)), foreign: 1, 2**63 - 1: 5}
    await house.desk(staff).send(session, "ひとつだけ")
    found = await _changes(house.desk(user), known)
    assert [item["id"] for item in found["items"]] == [session]
    assert quiet not in found["gone"]
    assert found["gone"] == [foreign, 2**63 - 1]
    assert found["items"][0]["last_message"]["preview"] == "ひとつだけ"


async def test_a_revision_from_a_better_world_is_told_too(house: House) -> None:
    user, _, session = await house.people.chat()
    found = await _changes(house.desk(user), {session: 1_000})
    assert [item["id"] for item in found["items"]] == [session], "after a restore clients may know too much"


async def test_users_get_their_balance_along(house: House) -> None:
    user, staff, session = await house.people.chat(credits=10, cost=3)
    sent = (await house.desk(user).send(session, "質問")).json
    found = await _changes(house.desk(user), {})
    assert (found["credit_balance"], found["credit_entry_id"]) == (7, sent["credit_entry_id"])
    assert set(await _changes(house.desk(staff), {})) == {"items", "gone"}


async def test_a_desk_with_six_hundred_chats_catches_up_in_two_calls(house: House) -> None:
    staff = await house.people.staff()
    persona = await house.people.persona(staff)
    user = await house.people.user()
    copies = """with a as (
      insert into accounts(email, display_name, hashed_password)
      select 'copy-' || $1 || '-' || n || '@example.com', 'x', 'x' from generate_series(1, 600) n returning id)
    insert into sessions(user_account_id, persona_id) select id, $2 from a"""
    await house.book.fetch(copies, str(user.id), persona)
    first = await _changes(house.desk(staff), {})
    assert len(first["items"]) == 500
    known = {item["id"]: item["revision"] for item in first["items"]}
    second = await _changes(house.desk(staff), known)
    known |= {item["id"]: item["revision"] for item in second["items"]}
    assert (len(known), second["gone"]) == (600, [])
    assert (await _changes(house.desk(staff), known))["items"] == []


async def _held(house: House, client: Client, known: dict[int, int]) -> asyncio.Task[dict[str, Any]]:
    task = asyncio.create_task(_changes(client, known, Prefer="wait=20"))

    async def is_held() -> bool:
        return len(house.here.context.held) == 1

    await until(is_held)
    assert not task.done()
    return task


@pytest.mark.parametrize("what", ["a message", "a read mark", "the close", "a new chat"])
async def test_a_held_call_is_woken_by_what_happens_elsewhere(house: House, what: str) -> None:
    user, staff, session = await house.people.chat()
    first = (await house.desk(user).send(session, "質問")).json["message"]["id"]
    held = await _held(house, house.desk(user), await _known(house.desk(user)))
    there = staff.via(house.there)
    match what:
        case "a message":
            await there.send(session, "お待たせしました")
        case "a read mark":
            await there.put(f"/sessions/{session}/read", {"message_id": first})
        case "the close":
            await there.post(f"/sessions/{session}/close")
        case "a new chat":
            persona = await house.people.persona(staff)
            session = (await user.via(house.there).post("/sessions", {"persona_id": persona})).json["id"]
    found = await asyncio.wait_for(held, 2)
    assert [item["id"] for item in found["items"]] == [session]


async def test_a_held_call_is_woken_by_a_new_balance(house: House) -> None:
    user, _, _ = await house.people.chat(credits=100)
    held = await _held(house, house.desk(user), await _known(house.desk(user)))
    admin = (await house.people.admin()).via(house.there)
    gift = {"account_id": user.id, "amount": 5, "note": "gift"}
    entry = (await admin.post("/credits/grants", gift)).done(201)
    found = await asyncio.wait_for(held, 2)
    assert found == {"items": [], "gone": [], "credit_balance": 105, "credit_entry_id": entry["id"]}


async def test_a_held_desk_is_told_of_what_is_gone_and_of_what_came(house: House) -> None:
    _, old, session = await house.people.chat()
    new = await house.people.staff()
    persona = (await house.desk(old).get(f"/sessions/{session}")).json["persona"]["id"]
    loses = await _held(house, house.desk(old), {session: 1})
    (await old.via(house.there).patch(f"/personas/{persona}", {"staff_account_id": new.id})).done()
    assert (await asyncio.wait_for(loses, 2))["gone"] == [session]
    assert [item["id"] for item in (await _changes(house.desk(new), {}))["items"]] == [session]


async def test_a_held_call_without_news_ends_empty_and_says_that_it_waited(house: House) -> None:
    user, _, _ = await house.people.chat()
    known = {str(session): revision for session, revision in (await _known(house.desk(user))).items()}
    answer = await house.desk(user).post("/sessions/changes", {"known": known}, Prefer="wait=1")
    assert (answer.done()["items"], answer.headers["Preference-Applied"]) == ([], "wait=1")


@pytest.mark.parametrize(
    "known", [{"x": 1}, {"-1": 1}, {"0": 1}, {"7": -1}, {"7": "1"}, {"7": 2**63}, {str(2**63): 1}, {"7": None}, [7]]
)
async def test_what_nobody_can_know_is_named(house: House, known: Any) -> None:
    user = await house.people.user()
    answer = await house.desk(user).post("/sessions/changes", {"known": known})
    (field,) = answer.refused(422, "validation_failed").fields
    assert field.startswith("known")


async def test_the_answer_says_when_to_look_again(house: House) -> None:
    user, _, _ = await house.people.chat()
    client = house.desk(user)
    news = await client.post("/sessions/changes", {"known": {}})
    calm = await client.post("/sessions/changes", {"known": await _known(client)})
    assert 0 < int(news.headers["X-Next-Poll-Ms"]) < int(calm.headers["X-Next-Poll-Ms"])
