"""The poll: what came after N, and nothing else."""

import asyncio
import time
from datetime import datetime

import pytest

from tests.routes.conftest import House, fill

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIELDS = {"id", "session_id", "sender_type", "sender_id", "content", "credit_cost", "created_at"}


async def test_a_row_has_exactly_the_seven_fields(house: House) -> None:
    user, staff, session = await house.people.chat(cost=3)
    await house.desk(user).send(session, "  こんにちは\r\n元気?\r")
    await house.desk(staff).send(session, "はい")
    polled = await house.desk(staff).poll(session, 0)
    asked, answered = polled.done()
    assert set(asked) == set(answered) == FIELDS
    assert (asked["content"], asked["sender_type"], asked["sender_id"]) == ("こんにちは\n元気?", "user", user.id)
    assert (asked["credit_cost"], answered["credit_cost"], asked["session_id"]) == (3, 0, session)
    persona = (await house.desk(user).get(f"/sessions/{session}")).json["persona"]["id"]
    assert (answered["sender_type"], answered["sender_id"]) == ("persona", persona), "never who typed it"
    assert datetime.fromisoformat(asked["created_at"]).utcoffset() is not None
    assert asked["created_at"].endswith("Z")
    assert polled.headers["Content-Type"] == "application/json"


async def test_both_sides_poll_the_same_rows_in_order_from_any_replica(house: House) -> None:
    user, staff, session = await house.people.chat()
    ids = await fill(house.desk(user), session, 10)
    rows = [
        await person.via(replica).poll(session, 0) for person in (user, staff) for replica in (house.here, house.there)
    ]
    assert len({answer.raw for answer in rows}) == 1
    assert [row["id"] for row in rows[0].json] == sorted(ids)
    assert [row["id"] for row in (await house.desk(user).poll(session, sorted(ids)[6])).json] == sorted(ids)[7:]


async def test_nothing_new_is_an_empty_array(house: House) -> None:
    user, _, session = await house.people.chat()
    assert (await house.desk(user).poll(session, 0)).raw == b"[]"
    (sent,) = await fill(house.desk(user), session, 1)
    for after in (sent, sent + 1_000_000, 2**63 - 1):
        assert (await house.desk(user).poll(session, after)).raw == b"[]"


async def test_at_most_500_rows_come_and_the_rest_when_asked_again_from_the_last(house: House) -> None:
    user, _, session = await house.people.chat(credits=600)
    ids = sorted(await fill(house.desk(user), session, 520))
    first = await house.desk(user).poll(session, 0)
    assert [row["id"] for row in first.done()] == ids[:500]
    assert first.headers["X-Next-Poll-Ms"] == "0", "more is waiting"
    rest = await house.desk(user).poll(session, ids[499])
    assert [row["id"] for row in rest.done()] == ids[500:]
    assert int(rest.headers["X-Next-Poll-Ms"]) > 0


@pytest.mark.parametrize(
    ("what", "content"),
    [("four bytes each", "🌸" * 3_990 + "{n}"), ("escapes of six bytes", "x" + "\x01" * 3_990 + "{n}")],
)
async def test_at_most_a_mebibyte_comes_and_nothing_is_skipped(house: House, what: str, content: str) -> None:
    user, _, session = await house.people.chat(credits=150)
    ids = sorted(await fill(house.desk(user), session, 90, content))
    seen: list[int] = []
    pages = 0
    while len(seen) < 90:
        answer = await house.desk(user).poll(session, seen[-1] if seen else 0)
        assert 0 < len(answer.raw) <= 1 << 20
        seen += [row["id"] for row in answer.done()]
        pages += 1
        assert (answer.headers["X-Next-Poll-Ms"] == "0") == (len(seen) < 90)
    assert seen == ids
    assert 2 <= pages <= 4, "pages are filled, not thrown about"


async def test_a_page_boundary_of_the_batched_lane_hides_nothing(house: House) -> None:
    user, staff, session = await house.people.chat(credits=100)
    ids = sorted(await fill(house.desk(user), session, 34))
    for count in (31, 32, 33, 34):
        answers = await asyncio.gather(*(house.desk(staff).poll(session, [0, *ids][34 - count]) for _ in range(3)))
        for answer in answers:
            assert [row["id"] for row in answer.done()] == ids[34 - count :]
            assert answer.headers["X-Next-Poll-Ms"] != "0"


async def test_the_revision_and_the_balance_travel_along(house: House) -> None:
    user, staff, session = await house.people.chat(credits=50, cost=8)
    before = await house.desk(user).poll(session, 0)
    await house.desk(user).send(session, "質問")
    after = await house.desk(user).poll(session, 0)
    assert (before.headers["X-Credit-Balance"], after.headers["X-Credit-Balance"]) == ("50", "42")
    assert int(after.headers["X-Session-Revision"]) == int(before.headers["X-Session-Revision"]) + 1
    desk = await house.desk(staff).poll(session, 0)
    assert "X-Credit-Balance" not in desk.headers
    assert desk.headers["X-Session-Revision"] == after.headers["X-Session-Revision"]
    shown = (await house.desk(user).get(f"/sessions/{session}")).json
    assert str(shown["revision"]) == after.headers["X-Session-Revision"]
    assert "Preference-Applied" not in after.headers


async def test_an_idle_chat_is_paced_more_slowly(house: House) -> None:
    user, _, session = await house.people.chat()
    paces = []
    for age in ("0", "5 minutes", "1 hour"):
        await house.book.fetch("update sessions set active_at = now() - $1::text::interval where id = $2", age, session)
        paces.append(int((await house.desk(user).poll(session, 0)).headers["X-Next-Poll-Ms"]))
    assert 0 < paces[0] < paces[1] < paces[2] <= 15_000
    more = {(await house.desk(user).poll(session, 0)).headers["X-Next-Poll-Ms"] for _ in range(10)}
    assert len(more) > 1, "there is jitter"


async def test_a_poller_that_keeps_to_its_pace_is_never_refused(house: House) -> None:
    strict = await house.replica(polls_per_second=1.0, polls_burst=3)
    user, _, session = await house.people.chat()
    paces = [int((await user.via(strict).poll(session, 0)).headers["X-Next-Poll-Ms"]) for _ in range(3)]
    assert paces[-1] > paces[0], "the emptier the bucket, the later"
    refused = (await user.via(strict).poll(session, 0)).refused(429, "rate_limited")
    assert refused.json["retry_after_ms"] <= 1_000
    assert int(refused.headers["Retry-After"]) == 1
    (await user.via(strict).post("/sessions/changes", {"known": {}})).refused(429, "rate_limited")
    other, _, theirs = await house.people.chat()
    assert (await other.via(strict).poll(theirs, 0)).status == 200, "it is counted for each account"


async def test_missing_and_malformed_parameters_are_all_named(house: House) -> None:
    user, _, session = await house.people.chat()
    desk = house.desk(user)
    (await desk.get("/messages/poll")).refused(422, "validation_failed", "session_id", "last_message_id")
    for query, fields in {
        f"session_id={session}": ["last_message_id"],
        "last_message_id=0": ["session_id"],
        "session_id=x&last_message_id=y": ["session_id", "last_message_id"],
        f"session_id={session}&last_message_id=-1": ["last_message_id"],
        "session_id=0&last_message_id=0": ["session_id"],
        "session_id=&last_message_id=": ["session_id", "last_message_id"],
        f"session_id={2**63}&last_message_id={2**63}": ["session_id", "last_message_id"],
        f"session_id={session}&session_id={session}&last_message_id=0": ["session_id"],
        f"session_id={session}.0&last_message_id=0e0": ["session_id", "last_message_id"],
    }.items():
        (await desk.get(f"/messages/poll?{query}")).refused(422, "validation_failed", *fields)


async def test_another_chats_message_is_no_cursor_here(house: House) -> None:
    user, staff, session = await house.people.chat()
    other = await house.people.session(user, await house.people.persona(staff))
    (elsewhere,) = await fill(house.desk(user), other, 1)
    await fill(house.desk(user), session, 1)
    (await house.desk(user).poll(session, elsewhere)).refused(422, "validation_failed", "last_message_id")
    assert (await house.desk(user).poll(other, elsewhere)).raw == b"[]"


async def test_somebody_elses_chat_is_not_found(house: House) -> None:
    user, _, session = await house.people.chat()
    stranger, other_staff, _ = await house.people.chat()
    admin = await house.people.admin()
    for person in (stranger, other_staff):
        (await house.desk(person).poll(session, 0)).refused(404, "not_found")
        (await house.desk(person).poll(2**63 - 1, 0)).refused(404, "not_found")
        waits = await house.desk(person).poll(session, 0, Prefer="wait=5")
        waits.refused(404, "not_found")
    (await house.desk(admin).poll(session, 0)).refused(403, "forbidden")
    assert (await house.desk(user).poll(session, 0)).status == 200


async def test_a_closed_chat_can_be_polled_and_is_not_waited_for(house: House) -> None:
    user, staff, session = await house.people.chat()
    (sent,) = await fill(house.desk(user), session, 1)
    (await house.desk(staff).post(f"/sessions/{session}/close")).done()
    assert len((await house.desk(user).poll(session, 0)).done()) == 1
    began = time.monotonic()
    assert (await house.desk(user).poll(session, sent, Prefer="wait=20")).raw == b"[]"
    assert time.monotonic() - began < 2
