"""A persona and all its chats go from one staff member to another."""

import asyncio

import pytest

from server.actions import announce
from storage import accounts
from tests.people import Person, lasting
from tests.routes.conftest import House
from tests.sockets import SocketClient

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _chats(house: House, count: int = 3) -> tuple[Person, int, list[tuple[Person, int]]]:
    staff = await house.people.staff()
    persona = await house.people.persona(staff)
    users = [await house.people.user() for _ in range(count)]
    return staff, persona, [(user, await house.people.session(user, persona)) for user in users]


@pytest.mark.parametrize("who", ["the owner", "an admin"])
async def test_the_chats_go_along_and_the_old_desk_finds_nothing_any_more(house: House, who: str) -> None:
    old, persona, chats = await _chats(house)
    new = await house.people.staff()
    user, session = chats[0]
    (asked,) = [(await house.desk(user).send(session, "聞いています")).json["message"]["id"]]
    (await house.desk(old).send(session, "はい")).done(201)
    before = (await house.desk(old).get(f"/sessions/{session}")).json["revision"]
    by = old if who == "the owner" else await house.people.admin()
    moved = (await house.desk(by).patch(f"/personas/{persona}", {"staff_account_id": new.id})).done()
    assert moved["staff_account_id"] == new.id
    for _, each in chats:
        for answer in (
            await house.desk(old).get(f"/sessions/{each}"),
            await house.desk(old).poll(each, 0),
            await house.desk(old).send(each, "まだ私です"),
            await house.desk(old).get(f"/messages?session_id={each}"),
            await house.desk(old).put(f"/sessions/{each}/read", {"message_id": asked}),
            await house.desk(old).post(f"/sessions/{each}/close"),
            await house.desk(old).post(f"/sessions/{each}/waiting", {"waiting": False}),
        ):
            answer.refused(404, "not_found")
    known = {str(each): 1 for _, each in chats}
    changes = (await house.desk(old).post("/sessions/changes", {"known": known})).done()
    assert (changes["items"], changes["gone"]) == ([], sorted(each for _, each in chats))
    assert (await house.desk(old).get("/sessions")).items == []
    shown = (await house.desk(new).get(f"/sessions/{session}")).done()
    assert shown["revision"] == before + 1
    assert len((await house.desk(new).poll(session, 0)).done()) == 2, "with the history"
    assert len((await house.desk(new).get("/sessions")).items) == 3
    assert (await house.desk(new).send(session, "代わりました")).status == 201
    rows = (await house.desk(user).poll(session, 0)).json
    assert {row["sender_id"] for row in rows if row["sender_type"] == "persona"} == {persona}, "users see one persona"
    assert (await house.desk(user).get(f"/sessions/{session}")).json["persona"]["id"] == persona


async def test_the_old_desk_may_not_edit_what_it_gave_away(house: House) -> None:
    old, persona, _ = await _chats(house, 1)
    new = await house.people.staff()
    (await house.desk(old).patch(f"/personas/{persona}", {"staff_account_id": new.id})).done()
    (await house.desk(old).patch(f"/personas/{persona}", {"name": "返して"})).refused(404, "not_found")
    (await house.desk(old).patch(f"/personas/{persona}", {"staff_account_id": old.id})).refused(404, "not_found")
    assert (await house.desk(new).patch(f"/personas/{persona}", {"name": "新"})).done()["name"] == "新"


@pytest.mark.parametrize("successor", ["a user", "an admin", "a suspended desk", "nobody"])
async def test_only_an_active_staff_account_can_take_over_and_a_refusal_changes_nothing(
    house: House, successor: str
) -> None:
    old, persona, chats = await _chats(house, 1)
    match successor:
        case "a user":
            to = (await house.people.user()).id
        case "an admin":
            to = (await house.people.admin()).id
        case "a suspended desk":
            to = (await house.people.staff()).id
            await accounts.change(house.book, to, None, "suspended", None)
        case _:
            to = 2**63 - 1
    before = lasting((await house.desk(old).get(f"/personas/{persona}")).json)
    for by in (old, await house.people.admin()):
        change = {"name": "半分だけ", "message_cost": 9, "staff_account_id": to}
        answer = await house.desk(by).patch(f"/personas/{persona}", change)
        answer.refused(422, "validation_failed", "staff_account_id")
    after = lasting((await house.desk(old).get(f"/personas/{persona}")).json)
    assert after == before, "neither name nor price nor owner"
    assert (await house.desk(old).get(f"/sessions/{chats[0][1]}")).json["revision"] == 1


async def test_a_hand_over_can_edit_in_the_same_call(house: House) -> None:
    old, persona, _ = await _chats(house, 1)
    new = await house.people.staff()
    change = {"name": "結衣 (新)", "message_cost": 4, "staff_account_id": new.id}
    done = (await house.desk(old).patch(f"/personas/{persona}", change)).done()
    assert (done["name"], done["message_cost"], done["staff_account_id"]) == ("結衣 (新)", 4, new.id)
    assert (await house.desk(new).get(f"/personas/{persona}")).json["name"] == "結衣 (新)"


async def test_a_hand_over_to_oneself_changes_nothing(house: House) -> None:
    old, persona, chats = await _chats(house, 1)
    assert (await house.desk(old).patch(f"/personas/{persona}", {"staff_account_id": old.id})).status == 200
    assert (await house.desk(old).get(f"/sessions/{chats[0][1]}")).json["revision"] == 1


async def test_of_very_many_chats_the_new_desk_hears_the_heads(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announce, "SLICE", 2)
    old, persona, chats = await _chats(house, 5)
    heir = await house.people.staff()
    desk = await SocketClient.open(heir, house.here)
    phones = [await SocketClient.open(user, house.here) for user, _ in chats]
    assert (await house.desk(old).patch(f"/personas/{persona}", {"staff_account_id": heir.id})).status == 200
    await desk.until(lambda: len(desk.events("heads")) >= 2)
    told = {event["session"]["id"] for event in desk.events("session")}
    heads = {int(id_): head for event in desk.events("heads") for id_, head in event["heads"].items()}
    assert (len(told), told | set(heads)) == (2, {session for _, session in chats})
    assert {head["revision"] for head in heads.values()} == {2}
    for phone, (_, session) in zip(phones, chats, strict=True):
        assert (await phone.event("session"))["session"]["id"] == session


async def test_of_two_hand_overs_at_once_the_chats_follow_one(house: House) -> None:
    old, persona, chats = await _chats(house, 2)
    heirs = [await house.people.staff() for _ in range(2)]
    doors = [old.via(house.here), old.via(house.there)]
    moves = await asyncio.gather(
        *(
            door.patch(f"/personas/{persona}", {"staff_account_id": heir.id})
            for door, heir in zip(doors, heirs, strict=True)
        )
    )
    assert sorted(answer.status for answer in moves) == [200, 404]
    counts = [len((await house.desk(heir).get("/sessions")).items) for heir in heirs]
    assert sorted(counts) == [0, len(chats)]
