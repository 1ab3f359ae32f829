"""One chat: opening, closing, reading, waiting; and who finds it."""

import asyncio
from typing import Any

import pytest

from tests.people import Client, Person
from tests.routes.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIELDS = {
    "id", "status", "revision", "user", "persona", "last_message_id", "user_read_id", "persona_read_id",
    "unread_count", "last_message", "created_at", "updated_at",
}  # fmt: skip


async def _get(client: Client, session: int) -> dict[str, Any]:
    shown: dict[str, Any] = (await client.get(f"/sessions/{session}")).done()
    return shown


async def _say(client: Client, session: int, *texts: str) -> list[int]:
    return [(await client.send(session, text)).done(201)["message"]["id"] for text in texts]


async def test_a_user_opens_a_chat_and_both_sides_see_it(house: House) -> None:
    user, staff = await house.people.user(), await house.people.staff()
    persona = await house.people.persona(staff, cost=2, name="海斗", avatar_url="/a.png")
    opened = await house.desk(user).post("/sessions", {"persona_id": persona})
    shown = opened.done(201)
    assert set(shown) == FIELDS, "waiting_since is for staff only"
    assert shown["persona"] == {
        "id": persona,
        "name": "海斗",
        "avatar_url": "/a.png",
        "message_cost": 2,
        "online": False,
    }
    assert shown["user"]["id"] == user.id and set(shown["user"]) == {"id", "display_name", "online"}
    assert (shown["status"], shown["last_message_id"], shown["unread_count"], shown["last_message"]) == (
        "active", 0, 0, None,
    )  # fmt: skip
    theirs = await _get(house.desk(staff), shown["id"])
    assert set(theirs) == FIELDS | {"waiting_since"}
    assert theirs["waiting_since"] is None


async def test_a_chat_is_opened_once_for_a_user_and_a_persona(house: House) -> None:
    user, staff = await house.people.user(), await house.people.staff()
    persona = await house.people.persona(staff)
    doors = [user.via(house.here), user.via(house.there)]
    opened = await asyncio.gather(*(doors[n % 2].post("/sessions", {"persona_id": persona}) for n in range(6)))
    assert sorted(answer.status for answer in opened) == [200] * 5 + [201]
    assert len({answer.json["id"] for answer in opened}) == 1
    assert {answer.json["revision"] for answer in opened} == {1}, "finding it changes nothing"


async def test_a_closed_chat_opens_again_with_its_history(house: House) -> None:
    user, staff, session = await house.people.chat()
    first, second = await _say(house.desk(user), session, "はじめまして", "いますか")
    closed = (await house.desk(user).post(f"/sessions/{session}/close")).done()
    assert (closed["status"], closed["last_message_id"]) == ("closed", second)
    assert (await _get(house.desk(staff), session))["waiting_since"] is None
    for side in (user, staff):
        (await house.desk(side).send(session, "もう遅い")).refused(409, "session_closed")
    assert (await house.desk(user).get("/auth/me")).json["credit_balance"] == 98, "a refusal costs nothing"
    again = await house.desk(user).post("/sessions", {"persona_id": closed["persona"]["id"]})
    shown = again.done(200)
    assert (shown["id"], shown["status"], shown["revision"]) == (session, "active", closed["revision"] + 1)
    assert [row["id"] for row in (await house.desk(user).poll(session, 0)).json] == [first, second]
    await _say(house.desk(user), session, "もどりました")


async def test_either_side_closes_and_closing_twice_changes_nothing(house: House) -> None:
    for side in range(2):
        user, staff, session = await house.people.chat()
        who = house.desk((user, staff)[side])
        closed = (await who.post(f"/sessions/{session}/close")).done()
        again = (await who.post(f"/sessions/{session}/close")).done()
        assert (closed["status"], again["revision"]) == ("closed", closed["revision"])


async def test_a_persona_that_is_not_active_takes_no_chats_and_no_messages(house: House) -> None:
    user, staff, session = await house.people.chat()
    persona = (await _get(house.desk(user), session))["persona"]["id"]
    (await house.desk(staff).patch(f"/personas/{persona}", {"is_active": False})).done()
    (await house.desk(user).send(session, "いますか")).refused(409, "persona_unavailable")
    assert (await house.desk(staff).send(session, "お休みをいただきます")).status == 201
    assert (await house.desk(user).post("/sessions", {"persona_id": persona})).json["id"] == session
    (await house.desk(user).post(f"/sessions/{session}/close")).done()
    (await house.desk(user).post("/sessions", {"persona_id": persona})).refused(409, "persona_unavailable")
    other = await house.people.user()
    (await house.desk(other).post("/sessions", {"persona_id": persona})).refused(409, "persona_unavailable")
    (await house.desk(other).post("/sessions", {"persona_id": 2**63 - 1})).refused(404, "not_found")


async def _strangers(house: House) -> list[Person]:
    user, staff, _ = await house.people.chat()
    return [user, staff]


async def test_somebody_elses_chat_is_not_found_by_any_call(house: House) -> None:
    user, _, session = await house.people.chat()
    (message,) = await _say(house.desk(user), session, "ないしょ")
    for stranger in await _strangers(house):
        desk = house.desk(stranger)
        for answer in (
            await desk.get(f"/sessions/{session}"),
            await desk.post(f"/sessions/{session}/close"),
            await desk.put(f"/sessions/{session}/read", {"message_id": message}),
            await desk.send(session, "こんにちは"),
            await desk.get(f"/messages?session_id={session}"),
            await desk.get(f"/messages?session_id={session}&before_id={message + 1}"),
            await desk.poll(session, 0),
            *(
                [await desk.post(f"/sessions/{session}/waiting", {"waiting": False})]
                if stranger.role == "staff"
                else []
            ),
        ):
            answer.refused(404, "not_found")
            assert "ないしょ" not in answer.raw.decode()
    assert (await _get(house.desk(user), session))["status"] == "active"


async def test_reading_moves_only_forward(house: House) -> None:
    user, staff, session = await house.people.chat()
    first, second, third = await _say(house.desk(staff), session, "一", "二", "三")
    desk = house.desk(user)
    path = f"/sessions/{session}/read"
    start = await _get(desk, session)
    assert start["unread_count"] == 3
    read = (await desk.put(path, {"message_id": second})).done()
    assert (read["user_read_id"], read["unread_count"], read["revision"]) == (second, 1, start["revision"] + 1)
    for older in (first, second, 0):
        same = (await desk.put(path, {"message_id": older})).done()
        assert (same["user_read_id"], same["revision"]) == (second, read["revision"])
    at_once = await asyncio.gather(*(desk.put(path, {"message_id": m}) for m in (third, first, second, third)))
    assert {answer.status for answer in at_once} == {200}
    shown = await _get(house.desk(staff), session)
    assert (shown["user_read_id"], shown["persona_read_id"]) == (third, 0), "each side has its own"
    assert shown["revision"] == read["revision"] + 1


async def test_a_position_that_is_no_message_of_this_chat_is_named(house: House) -> None:
    user, staff, session = await house.people.chat()
    other = await house.people.session(user, await house.people.persona(staff))
    (elsewhere,) = await _say(house.desk(staff), other, "あちら")
    for message in (elsewhere, 2**63 - 1):
        answer = await house.desk(user).put(f"/sessions/{session}/read", {"message_id": message})
        answer.refused(422, "validation_failed", "message_id")
    assert (await _get(house.desk(user), session))["user_read_id"] == 0


async def test_unread_counts_the_other_sides_messages_and_stops_at_a_hundred(house: House) -> None:
    user, staff, session = await house.people.chat(credits=200)
    await _say(house.desk(staff), session, "いらっしゃいませ")
    ids = sorted(
        answer.json["message"]["id"]
        for answer in await asyncio.gather(*(house.desk(user).send(session, f"{n}") for n in range(105)))
    )
    assert (await _get(house.desk(user), session))["unread_count"] == 1
    desk = house.desk(staff)
    assert (await _get(desk, session))["unread_count"] == 100
    assert (await desk.put(f"/sessions/{session}/read", {"message_id": ids[9]})).done()["unread_count"] == 95
    assert (await desk.put(f"/sessions/{session}/read", {"message_id": ids[-1]})).done()["unread_count"] == 0
    assert (await desk.get("/sessions")).items[0]["unread_count"] == 0


@pytest.mark.parametrize("content", ["短い", "x" * 120, "長" * 121, "🌸" * 4_000])
async def test_the_preview_has_at_most_120_characters(house: House, content: str) -> None:
    user, _, session = await house.people.chat()
    (message,) = await _say(house.desk(user), session, content)
    last = (await _get(house.desk(user), session))["last_message"]
    assert set(last) == {"id", "sender_type", "preview", "created_at"}
    assert (last["id"], last["sender_type"], last["preview"]) == (message, "user", content[:120])


async def test_a_chat_waits_from_the_first_question_until_the_answer(house: House) -> None:
    user, staff, session = await house.people.chat()
    desk = house.desk(staff)
    await _say(house.desk(user), session, "質問")
    since = (await _get(desk, session))["waiting_since"]
    await _say(house.desk(user), session, "もしもし")
    assert (await _get(desk, session))["waiting_since"] == since is not None
    assert since == (await house.desk(user).poll(session, 0)).json[0]["created_at"]
    await _say(desk, session, "はい")
    assert (await _get(desk, session))["waiting_since"] is None


async def test_staff_say_that_a_chat_needs_no_answer(house: House) -> None:
    user, staff, session = await house.people.chat()
    await _say(house.desk(user), session, "ありがとう")
    path, desk = f"/sessions/{session}/waiting", house.desk(staff)
    before = await _get(desk, session)
    cleared = (await desk.post(path, {"waiting": False})).done()
    assert (cleared["waiting_since"], cleared["revision"]) == (None, before["revision"] + 1)
    assert (await desk.post(path, {"waiting": False})).done()["revision"] == cleared["revision"]
    assert (await desk.post(path, {"waiting": True})).done()["waiting_since"] is not None
    (await house.desk(user).post(path, {"waiting": False})).refused(403, "forbidden")
    (await desk.post(f"/sessions/{session}/close")).done()
    assert (await desk.post(path, {"waiting": True})).done()["waiting_since"] is None, "a closed chat waits for nobody"


async def test_history_comes_newest_first_page_by_page(house: House) -> None:
    user, staff, session = await house.people.chat()
    ids = await _say(house.desk(user), session, *(f"{n}" for n in range(6)))
    seen: list[int] = []
    cursor = ""
    while True:
        page = await house.desk(staff).get(f"/messages?session_id={session}&limit=3{cursor}")
        seen += [row["id"] for row in page.items]
        if page.done()["next_cursor"] is None:
            break
        cursor = f"&before_id={page.json['next_cursor']}"
    assert seen == ids[::-1]
    whole = await house.desk(user).get(f"/messages?session_id={session}")
    assert [row["id"] for row in whole.items] == ids[::-1]
    assert set(whole.items[0]) == set((await house.desk(user).poll(session, 0)).json[0]), "the same seven fields"
    assert whole.json["next_cursor"] is None
    exactly = await house.desk(user).get(f"/messages?session_id={session}&limit=6")
    assert exactly.json["next_cursor"] is None, "there is no page after the last"
    assert (await house.desk(user).get(f"/messages?session_id={session}&before_id={ids[0]}")).items == []


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("  a  ", "a"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\u3000全角\u3000", "全角"),
        ("x" * 4_000, "x" * 4_000),
        ("👨‍👩‍👧", "👨‍👩‍👧"),
        ("{{user.name}}", "{{user.name}}"),
        ("<b>", "<b>"),
    ],
)
async def test_content_is_kept_trimmed_with_its_line_ends_as_lf(house: House, content: str, kept: str) -> None:
    user, _, session = await house.people.chat()
    assert (await house.desk(user).send(session, content)).done(201)["message"]["content"] == kept
    assert (await house.desk(user).poll(session, 0)).json[0]["content"] == kept


@pytest.mark.parametrize("content", ["", "   ", "\r\n\t\u3000", "x" * 4_001, "🌸" * 4_001, "a\0b"])
async def test_content_that_cannot_be_sent_is_named_and_free(house: House, content: str) -> None:
    user, _, session = await house.people.chat()
    (await house.desk(user).send(session, content)).refused(422, "validation_failed", "content")
    assert (await house.desk(user).get("/credits")).json["credit_balance"] == 100


@pytest.mark.parametrize("key", ["", "é", "x" * 256, "a\tb"])
async def test_a_key_that_is_no_key_is_named(house: House, key: str) -> None:
    user, _, session = await house.people.chat()
    (await house.desk(user).send(session, "x", key)).refused(422, "validation_failed", "Idempotency-Key")
    assert (await house.desk(user).send(session, "x", "k" * 255)).status == 201


async def test_who_has_no_credits_is_told_what_is_missing(house: House) -> None:
    user, staff, session = await house.people.chat(credits=4, cost=5)
    refused = (await house.desk(user).send(session, "足りますか", "k")).refused(402, "insufficient_credits")
    assert (refused.json["credit_balance"], refused.json["message_cost"]) == (4, 5)
    admin = house.desk(await house.people.admin())
    grant = {"account_id": user.id, "amount": 1, "note": "おまけ"}
    assert (await admin.post("/credits/grants", grant)).status == 201
    sent = (await house.desk(user).send(session, "足りますか", "k")).done(201)
    assert sent["credit_balance"] == 0, "a refusal is not remembered with the key"
    answered = (await house.desk(staff).send(session, "はい")).done(201)
    assert set(answered) == {"message"}, "staff have no balance"


async def test_a_free_persona_costs_nothing_and_makes_no_entry(house: House) -> None:
    user, _, session = await house.people.chat(credits=0, cost=0)
    sent = (await house.desk(user).send(session, "無料ですか", expected_cost=0)).done(201)
    assert (sent["message"]["credit_cost"], sent["credit_balance"], sent["credit_entry_id"]) == (0, 0, 0)
    assert (await house.desk(user).get("/credits/entries")).items == []
