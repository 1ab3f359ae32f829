"""The websocket door: handshake, commands, and what becomes of bad ones."""

import asyncio
import json

import aiohttp
import pytest

from storage.book import Book
from tests.conftest import MakeReplica
from tests.people import People, balance
from tests.servers import Replica
from tests.sockets import SocketClient
from tests.until import until


async def handshake(people: People, url: str, **headers: str) -> int:
    """Give the status of a refused handshake."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await people.http.ws_connect(f"{url}/api/v1/ws", headers=headers)
    return refused.value.status


async def test_hello_is_first_and_tells_who_one_is(replica: Replica, people: People) -> None:
    user = await people.user(42)
    socket = await SocketClient.open(user, replica)
    hello = socket.heard[0]
    assert set(hello) == {"type", "connection_id", "account", "now", "version", "heartbeat_seconds"}
    assert (hello["type"], hello["account"]["id"], hello["account"]["credit_balance"]) == ("hello", user.id, 42)
    assert hello["heartbeat_seconds"] == 25


async def test_a_handshake_without_a_login_or_from_a_foreign_page_is_refused(
    make_replica: MakeReplica, people: People
) -> None:
    replica = await make_replica(allowed_origins="https://chat.example.com")
    user = await people.user()
    bearer, cookie = {"Authorization": f"Bearer {user.token}"}, {"Cookie": f"concierge_login={user.token}"}
    foreign, own = {"Origin": "https://evil.example.com"}, {"Origin": "https://chat.example.com"}
    assert await handshake(people, replica.url) == 401
    assert await handshake(people, replica.url, Authorization="Bearer nonsense") == 401
    assert await handshake(people, replica.url, **bearer, **foreign) == 403
    assert await handshake(people, replica.url, **cookie, **foreign) == 403
    assert await handshake(people, replica.url, **cookie, Origin="null") == 403
    assert await handshake(people, replica.url, **cookie) == 403
    async with people.http.ws_connect(f"{replica.url}/api/v1/ws", headers={**cookie, **own}) as socket:
        assert json.loads((await socket.receive()).data)["account"]["id"] == user.id


async def test_what_is_no_handshake_is_told_so(replica: Replica, people: People) -> None:
    refused = await (await people.user()).via(replica).get("/ws")
    assert (refused.status, refused.code) == (400, "malformed_body")


async def test_the_21st_socket_of_an_account_is_refused(replica: Replica, people: People) -> None:
    user, other = await people.user(), await people.user()
    sockets = [await SocketClient.open(user, replica) for _ in range(20)]
    assert await handshake(people, replica.url, Authorization=f"Bearer {user.token}") == 429
    await SocketClient.open(other, replica)
    await sockets[0].close()

    async def has_room() -> bool:
        return replica.context.sockets.has_room(user.id)

    await until(has_room)
    await SocketClient.open(user, replica)


async def test_a_send_by_socket_is_answered_as_by_http(replica: Replica, people: People, book: Book) -> None:
    user, staff, session = await people.chat(credits=3)
    socket, desk = await SocketClient.open(user, replica), await SocketClient.open(staff, replica)
    sent = await socket.command("send", session_id=session, content="こんにちは", idempotency_key="hello")
    assert sent["type"] == "ok"
    assert set(sent) == {"type", "ref", "message", "credit_balance", "credit_entry_id"}
    assert sent["credit_balance"] == 2
    heard = await desk.event("message")
    assert heard["message"] == sent["message"]
    assert (heard["prev_id"], "idempotency_key" in heard) == (0, False)
    own = await socket.event("message")
    assert own["idempotency_key"] == "hello"
    assert (await socket.event("balance"))["credit_balance"] == 2
    again = await socket.command("send", session_id=session, content="こんにちは", idempotency_key="hello")
    assert (again["message"], again["replayed"]) == (sent["message"], True)
    answered = await desk.command(
        "send", session_id=session, content="いらっしゃいませ", seen_message_id=heard["message"]["id"]
    )
    assert set(answered) == {"type", "ref", "message"}
    assert (await socket.event("message", prev_id=sent["message"]["id"]))["message"] == answered["message"]
    assert await balance(book, user.id) == (2, 2)


async def test_refusals_carry_the_members_of_the_problem(replica: Replica, people: People) -> None:
    user, _, session = await people.chat(credits=0)
    socket = await SocketClient.open(user, replica)
    refused = await socket.command("send", session_id=session, content="お願いします")
    assert (refused["type"], refused["code"], refused["status"]) == ("error", "insufficient_credits", 402)
    assert (refused["credit_balance"], refused["message_cost"], refused["retryable"]) == (0, 1, False)
    assert refused["title"]
    assert refused["detail"]
    assert refused["request_id"]
    other, _, chat = await people.chat(credits=9)
    phone = await SocketClient.open(other, replica)
    await phone.command("send", session_id=chat, content="一度目", idempotency_key="same")
    reused = await phone.command("send", session_id=chat, content="二度目", idempotency_key="same")
    assert (reused["code"], reused["errors"][0]["field"]) == ("idempotency_key_reused", "idempotency_key")
    empty = await socket.command("send", session_id=session, content="  ")
    assert (empty["code"], [error["field"] for error in empty["errors"]]) == ("validation_failed", ["content"])
    foreign = await socket.command("read", session_id=session + 1_000_000, message_id=1)
    assert foreign["code"] == "not_found"
    typed = await socket.command("typing", session_id=session + 1_000_000)
    assert typed["code"] == "not_found"


BAD_FRAMES: list[tuple[str | bytes, str, list[str] | None]] = [
    ("not json", "malformed_body", []),
    ("[1, 2]", "validation_failed", ["frame"]),
    ('"hello"', "validation_failed", ["frame"]),
    ('{"ref": 1}', "validation_failed", ["type"]),
    ('{"type": "dance", "ref": 1}', "validation_failed", ["type"]),
    ('{"type": 7, "ref": 1}', "validation_failed", ["type"]),
    ('{"type": "send", "ref": 1}', "validation_failed", ["session_id", "content"]),
    ('{"type": "send", "ref": 1, "session_id": "x", "content": 5}', "validation_failed", ["session_id", "content"]),
    ('{"type": "send", "ref": 1, "session_id": 1, "content": "a", "colour": 1}', "validation_failed", ["colour"]),
    (
        '{"type": "send", "ref": 1, "session_id": 9223372036854775808, "content": "a"}',
        "validation_failed",
        ["session_id"],
    ),
    ('{"type": "send", "ref": 1, "session_id": 1, "content": "\\u0000"}', "validation_failed", ["content"]),
    ('{"type": "send", "ref": 1, "session_id": 1, "content": "\\ud800"}', "validation_failed", ["content"]),
    (
        '{"type": "send", "ref": 1, "session_id": 1, "content": "a", "idempotency_key": "a\\n"}',
        "validation_failed",
        ["idempotency_key"],
    ),
    ('{"type": "resume", "ref": 1, "positions": {"x": 1}}', "validation_failed", None),
    ('{"type": "resume", "ref": 1, "positions": {"1": -1}}', "validation_failed", None),
    ('{"type": "read", "ref": 1, "session_id": -1, "message_id": 0}', "validation_failed", ["session_id"]),
    ('{"type": "ping"}', "validation_failed", ["ref"]),
    (b"\x00\x01", "malformed_body", []),
    ("[" * 10_000, "malformed_body", []),
]


@pytest.mark.parametrize(("frame", "code", "fields"), BAD_FRAMES, ids=[str(frame)[:60] for frame, *_ in BAD_FRAMES])
async def test_a_bad_frame_is_refused_and_the_connection_goes_on(
    replica: Replica, people: People, frame: str | bytes, code: str, fields: list[str] | None
) -> None:
    socket = await SocketClient.open(await people.user(), replica)
    await socket.say(frame)
    refused = await socket.event("error")
    assert refused["code"] == code
    if fields is not None:
        assert [error["field"] for error in refused.get("errors", [])] == fields
    assert (await socket.command("ping"))["type"] == "ok"


async def test_the_ref_of_a_bad_command_is_echoed(replica: Replica, people: People) -> None:
    socket = await SocketClient.open(await people.user(), replica)
    assert (await socket.command("dance"))["code"] == "validation_failed"


async def test_ten_bad_frames_in_a_minute_end_the_connection_and_no_other(replica: Replica, people: People) -> None:
    user = await people.user()
    bad, good = await SocketClient.open(user, replica), await SocketClient.open(user, replica)
    for _ in range(10):
        await bad.say("nonsense")
    assert await bad.closed() == 4102
    assert len(bad.events("error")) == 10
    assert (await good.command("ping"))["type"] == "ok"


async def test_an_oversized_frame_ends_the_connection(replica: Replica, people: People) -> None:
    socket = await SocketClient.open(await people.user(), replica)
    await socket.say(json.dumps({"type": "ping", "ref": "x" * 70_000}))
    assert await socket.closed() == 1009


async def test_a_flood_of_commands_ends_the_connection_and_no_other(replica: Replica, people: People) -> None:
    user = await people.user()
    flood, calm = await SocketClient.open(user, replica), await SocketClient.open(user, replica)
    for n in range(1_100):
        if not flood.is_closed:
            await flood.say(json.dumps({"type": "ping", "ref": n}))
    assert await flood.closed() == 4003
    assert (await calm.command("ping"))["type"] == "ok"


async def test_a_hundred_half_open_handshakes_disturb_nobody(replica: Replica, people: People) -> None:
    port = int(replica.url.rsplit(":", 1)[1])
    halves = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
    for _, writer in halves:
        writer.write(b"GET /api/v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: webso")
    socket = await SocketClient.open(await people.user(), replica)
    assert (await socket.command("ping"))["type"] == "ok"
    for _, writer in halves:
        writer.close()
