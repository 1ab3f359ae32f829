"""What a replica writes down: no message, no token, no password, no address of anybody."""

import asyncio
import json
import logging
import signal
import sys
from typing import Any

import pytest

from server.logs import JsonLines
from storage.book import Book
from storage.errors import Conflict, QueryFailed
from tests.conftest import MakeProcess
from tests.people import PASSWORD, Client, People
from tests.processes import ReplicaProcess

MARK = "SECRET"
INSERT = "insert into accounts(email, display_name, hashed_password"


async def _live(process: ReplicaProcess, people: People) -> list[str]:
    """Do all kinds of things, right and wrong; give what must never be written down."""
    user, staff, session = await people.chat(credits=3)
    admin = (await people.admin()).via(process.url)
    guest = Client(people.http, process.url)
    desk, door = staff.via(process.url), user.via(process.url)
    email, password = f"{MARK}-{process.port}@example.com", f"{MARK}-password"
    made = await guest.post("/auth/register", {"email": email, "password": password, "display_name": f"{MARK}-name"})
    token = made.done(201)["token"]
    await guest.post("/auth/register", {"email": email, "password": password, "display_name": f"{MARK}-name"})
    await guest.post("/auth/login", {"email": email, "password": f"{MARK}-wrong"})
    await guest.post("/auth/login", {"email": f"{MARK}-other@example.com", "password": f"{MARK}-wrong"})
    await guest.post("/auth/login", {"email": user.email, "password": PASSWORD, "cookie": True})
    for n in range(5):
        await door.send(session, f"{MARK}-message {n}", f"{MARK}-key-{n}")
    await desk.send(session, f"{MARK}-answer")
    await asyncio.gather(door.poll(session, 0), door.poll(session, 0, Prefer="wait=1"), desk.poll(session, 2**63 - 1))
    await door.send(session, f"{MARK}-message\0")
    await door.call("POST", "/messages", raw=b'{"content": "' + MARK.encode() + b"-broken")
    await door.call("POST", "/messages", raw=f"{MARK}-zip".encode(), headers={"Content-Encoding": "deflate"})
    await door.call("POST", "/messages", raw=f"{MARK}".encode() * 20_000)
    await admin.get(f"/accounts?q={MARK}-search&cursor={MARK}-cursor")
    await admin.get(f"/messages?session_id={session}&before_id={MARK}-id")
    await guest.get("/auth/me", Authorization=f"Bearer {MARK}-token")
    await guest.get("/auth/me", Cookie=f"concierge_login={MARK}-cookie")
    await Client(people.http, process.url, token).post(
        "/auth/password", {"current_password": password, "new_password": f"{MARK}-new"}
    )
    await admin.post("/credits/grants", {"account_id": user.id, "amount": 5, "note": f"{MARK}-note"})
    await _break_the_protocol(process)
    return [MARK, user.email, staff.email, user.token, staff.token, PASSWORD, token, admin.token]


async def _break_the_protocol(process: ReplicaProcess) -> None:
    """Say things that are no HTTP, with a token among them; and hang up in the middle of a body."""
    for words in (
        f"GET /api/v1/auth/me HTTP/1.1\r\nHost: x\r\nAuthorization Bearer {MARK}-header\r\n\r\n",
        f"NONSENSE {MARK}-line\r\n\r\n",
        f"GET /{MARK}-path\0 HTTP/1.1\r\n\r\n",
        f"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{MARK}-half",
        f"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{MARK}-chunk",
        f"GET /api/v1/auth/me?token={MARK}-query HTTP/1.1\r\nHost: x\r\nX-A: {'a' * 20_000}\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
        writer.write(words.encode())
        await writer.drain()
        writer.write_eof()
        await reader.read()
        writer.close()


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_nothing_that_is_somebodys_own_is_written_down(
    make_process: MakeProcess, people: People, level: str
) -> None:
    process = await make_process(CONCIERGE_LOG_LEVEL=level, CONCIERGE_LIMITS="off")
    secrets = await _live(process, people)
    await process.end(signal.SIGKILL)
    log = process.log.read_text()
    lines = [json.loads(line) for line in log.splitlines() if line]
    assert {"time", "level", "replica", "logger", "message"} <= set(lines[0])
    assert any("listening" in line["message"] for line in lines), "something could have been written down"
    for secret in secrets:
        at = log.find(secret)
        assert at < 0, log[max(0, at - 400) : at + 200]
    if level == "info":
        assert not [line for line in lines if line["level"] == "error"], log


@pytest.mark.parametrize(
    ("sql", "argument", "expected"),
    [
        (f"{INSERT}) values ($1, $1, $1), ($1, $1, $1)", f"{MARK}@x", Conflict),
        (f"{INSERT}, credit_balance) values ($1, $1, $1, -1)", MARK, Conflict),
        (f"{INSERT}) values ($1, $1, null)", MARK, Conflict),
        ("select $1::bigint", MARK, QueryFailed),
        ("select $1::text::bigint", MARK, QueryFailed),
        ("select $1::text", f"{MARK}\0", QueryFailed),
    ],
)  # fmt: skip
async def test_a_fault_of_ours_is_logged_without_what_it_stumbled_over(
    book: Book, sql: str, argument: Any, expected: type[Exception]
) -> None:
    try:
        await book.fetch(sql, argument)
    except expected:
        record = logging.LogRecord("server", logging.ERROR, __file__, 1, "%s failed", ("GET /x",), sys.exc_info())
    line = JsonLines("test").format(record)
    told = json.loads(line)
    assert "storage/database.py" in told["exception"] and expected.__name__ in told["exception"]
    assert MARK not in line
