"""The poll that is held until there is something: who is woken by what, and who is not held."""

import asyncio
import time

import pytest

from server.actions.announce import topic
from tests.people import Answer, Client
from tests.routes.conftest import House, fill
from tests.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _is_held(house: House, count: int = 1) -> bool:
    return len(house.here.context.held) >= count


async def _held(
    house: House, client: Client, session: int, after: int, prefer: str = "wait=20"
) -> asyncio.Task[Answer]:
    task = asyncio.create_task(client.poll(session, after, Prefer=prefer))
    await until(lambda: _is_held(house))
    assert not task.done()
    return task


async def test_a_held_poll_is_woken_by_a_message_sent_elsewhere(house: House) -> None:
    user, staff, session = await house.people.chat()
    held = await _held(house, house.desk(user), session, 0)
    sent = (await staff.via(house.there).send(session, "お待たせしました")).done(201)["message"]
    sent_at = time.monotonic()
    answer = await held
    assert time.monotonic() - sent_at < 1
    assert answer.done() == [sent]
    assert answer.headers["Preference-Applied"] == "wait=20"
    assert not len(house.here.context.held), "nobody is forgotten in the house"


async def test_a_held_poll_is_woken_by_the_close(house: House) -> None:
    user, staff, session = await house.people.chat()
    held = await _held(house, house.desk(user), session, 0)
    (await staff.via(house.there).post(f"/sessions/{session}/close")).done()
    assert (await asyncio.wait_for(held, 2)).raw == b"[]"


async def test_a_closed_chat_holds_nobody_and_calls_nobody_back_soon(house: House) -> None:
    user, staff, session = await house.people.chat()
    (await house.desk(staff).post(f"/sessions/{session}/close")).done()
    answer = await asyncio.wait_for(house.desk(user).poll(session, 0, Prefer="wait=20"), 2)
    assert answer.raw == b"[]"
    assert int(answer.headers["X-Next-Poll-Ms"]) >= 900


async def test_a_held_poll_is_woken_when_its_chat_is_handed_over(house: House) -> None:
    user, staff, session = await house.people.chat()
    successor = await house.people.staff()
    persona = (await house.desk(user).get(f"/sessions/{session}")).json["persona"]["id"]
    held = await _held(house, house.desk(staff), session, 0)
    moved = await staff.via(house.there).patch(f"/personas/{persona}", {"staff_account_id": successor.id})
    assert moved.status == 200
    (await asyncio.wait_for(held, 2)).refused(404, "not_found")


async def test_a_held_poll_is_not_woken_by_another_chat(house: House) -> None:
    user, staff, session = await house.people.chat()
    other = await house.people.session(user, await house.people.persona(staff))
    held = await _held(house, house.desk(user), session, 0)
    await fill(staff.via(house.there), other, 3)
    assert len((await house.desk(user).poll(other, 0)).json) == 3, "it could have been heard"
    assert not held.done()
    (sent,) = await fill(staff.via(house.here), session, 1)
    assert [row["id"] for row in (await held).json] == [sent]


async def test_news_that_is_there_already_is_not_waited_for(house: House) -> None:
    user, _, session = await house.people.chat()
    await fill(house.desk(user), session, 2)
    answer = await asyncio.wait_for(house.desk(user).poll(session, 0, Prefer="wait=25"), 2)
    assert len(answer.done()) == 2


async def test_a_wait_without_news_ends_with_an_empty_array(house: House) -> None:
    user, _, session = await house.people.chat()
    began = time.monotonic()
    ways = ("wait=1", "respond-async, wait=1", "wait=1;x=y", "respond-async;a=b, wait=1", "Wait = 1", 'wait="1"')
    answers = await asyncio.gather(*(house.desk(user).poll(session, 0, Prefer=prefer) for prefer in ways))
    assert 0.9 < time.monotonic() - began < 3
    assert {(answer.raw, answer.headers["Preference-Applied"]) for answer in answers} == {(b"[]", "wait=1")}


async def test_a_preference_may_stand_in_a_header_of_its_own(house: House) -> None:
    user, _, session = await house.people.chat()
    headers = [("Authorization", f"Bearer {user.token}"), ("Prefer", "return=minimal"), ("Prefer", "wait=1")]
    path = f"{house.here.url}/api/v1/messages/poll?session_id={session}&last_message_id=0"
    async with house.people.http.get(path, headers=headers) as response:
        assert response.headers["Preference-Applied"] == "wait=1"


@pytest.mark.parametrize("prefer", ["wait=0", "wait", "wait=-5", "wait=soon", "return=minimal", "await=20", ""])
async def test_a_preference_that_asks_for_no_wait_holds_nobody(house: House, prefer: str) -> None:
    user, _, session = await house.people.chat()
    answer = await asyncio.wait_for(house.desk(user).poll(session, 0, Prefer=prefer), 2)
    assert (answer.raw, "Preference-Applied" in answer.headers) == (b"[]", False)


async def test_the_wait_is_never_longer_than_25_seconds(house: House) -> None:
    user, staff, session = await house.people.chat()
    held = await _held(house, house.desk(user), session, 0, "wait=3600")
    await fill(house.desk(staff), session, 1)
    assert (await held).headers["Preference-Applied"] == "wait=25"


async def test_the_21st_held_call_of_an_account_answers_at_once(house: House) -> None:
    user, staff, session = await house.people.chat()
    desk = house.desk(user)
    held = [asyncio.create_task(desk.poll(session, 0, Prefer="wait=20")) for _ in range(20)]
    await until(lambda: _is_held(house, 20))
    at_once = await asyncio.wait_for(desk.poll(session, 0, Prefer="wait=20"), 2)
    assert (at_once.raw, "Preference-Applied" in at_once.headers) == (b"[]", False)
    changes = asyncio.wait_for(desk.post("/sessions/changes", {"known": {str(session): 1}}, Prefer="wait=20"), 2)
    assert (await changes).status == 200
    other, other_staff, theirs = await house.people.chat()
    elsewhere = asyncio.create_task(house.desk(other).poll(theirs, 0, Prefer="wait=20"))
    await until(lambda: _is_held(house, 21))
    await fill(house.desk(staff), session, 1)
    await fill(house.desk(other_staff), theirs, 1)
    assert all(len(answer.json) == 1 for answer in await asyncio.gather(*held, elsewhere))


async def test_a_drain_lets_the_held_go(house: House) -> None:
    leaving = await house.replica()
    user, _, session = await house.people.chat()
    held = asyncio.create_task(user.via(leaving).poll(session, 0, Prefer="wait=20"))

    async def is_held() -> bool:
        return len(leaving.context.held) == 1

    await until(is_held)
    leaving.context.held.drain()
    assert (await asyncio.wait_for(held, 2)).raw == b"[]"
    at_once = await asyncio.wait_for(user.via(leaving).poll(session, 0, Prefer="wait=20"), 2)
    assert at_once.raw == b"[]"


async def test_calls_whose_client_hung_up_make_room_for_others(house: House) -> None:
    user, _, session = await house.people.chat()
    desk = house.desk(user)
    gone = [asyncio.create_task(desk.poll(session, 0, Prefer="wait=20")) for _ in range(20)]
    await until(lambda: _is_held(house, 20))
    for call in gone:
        call.cancel()
    await asyncio.wait(gone)

    async def is_held() -> bool:
        before = len(house.here.context.held)
        call = asyncio.create_task(desk.poll(session, 0, Prefer="wait=20"))
        done, _ = await asyncio.wait({call}, timeout=0.2)
        call.cancel()
        return not done and before > 0

    await until(is_held)

    async def nobody_listens_for_them() -> bool:
        return len(house.here.context.broker.hub.listeners_of(topic(user.id))) < len(gone)

    await until(nobody_listens_for_them)
    house.here.context.held.drain()
    house.here.context.held.draining = False
