"""A staff member's address never reaches the application: a marked one is sent in every way and searched everywhere."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis

from storage.book import Book
from tests.conftest import MakeProcess
from tests.people import PASSWORD, Client, People, Person
from tests.processes import ReplicaProcess
from tests.proxy.conftest import MakeNode, MakeTap
from tests.proxy.nodes import SECRET, Tap, TestNode
from tests.servers import Servers
from tests.sockets import SocketClient
from tests.until import until

# On Linux every address of 127/8 is ours, so a client can come from one that nobody else has.
MARK = "127.77.13.37"
# The ways to write it that a search must know: as text, as a number, in hexadecimal, backwards, with dashes.
SHAPES = (MARK, str(0x7F4D0D25), "7f4d0d25", "7F4D0D25", "37.13.77.127", "127-77-13-37", "7f4d:d25", "7f4d:0d25")
NAMES = (
    "X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP", "CF-Connecting-IP", "CF-Connecting-IPv6",
    "Fastly-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Forwarded", "Forwarded-For",
    "X-Original-Forwarded-For", "X-Originating-IP", "X-Remote-IP", "X-Remote-Addr", "X-ProxyUser-Ip",
    "WL-Proxy-Client-IP", "Proxy-Client-IP", "X-Appengine-User-IP", "X-Azure-ClientIP", "X-Envoy-External-Address",
    "Via", "From", "User-Agent", "Referer", "Origin", "Accept", "Accept-Language", "X-Site", "X-Request-Id",
    "X-Forwarded-Host", "X_Forwarded_For", "Remote_Addr", f"X-{MARK}",
)  # fmt: skip
FORGED = {name: f"for={MARK};by={MARK}" if "orwarded" in name else MARK for name in NAMES}
FORGED["Cookie"] = f"client={MARK}"


@dataclass
class Trail:
    """Everywhere that an address could have got to."""

    book: Book
    servers: Servers
    taps: list[Tap]
    replicas: list[ReplicaProcess]
    nodes: list[TestNode]
    redis: "Redis"
    heard: list[str] = field(default_factory=list)

    @property
    def received(self) -> str:
        """Everything that the replicas received."""
        return "".join(tap.received.decode("latin-1") for tap in self.taps)

    def logs(self) -> dict[str, str]:
        """The logs of replicas and servers by name."""
        paths = [replica.log for replica in self.replicas]
        paths += Path(self.servers.postgres.directory / "logs").glob("*")
        return {path.name: path.read_text(errors="replace") for path in paths}

    async def rows(self, text: str) -> list[str]:
        """Give the tables that have `text` in a row."""
        tables = await self.book.fetch("select tablename from pg_tables where schemaname = 'public'")
        assert len(tables) > 8
        sql = "select exists (select from {0} where strpos({0}::text, $1) > 0)"
        return [name for (name,) in tables if (await self.book.fetchrow(sql.format(name), text))[0]]  # type: ignore[index]

    async def keys(self) -> str:
        """Everything that Redis holds, and every command that it was given."""
        found = [*self.heard]
        async for key in self.redis.scan_iter():
            value: object
            match await self.redis.type(key):
                case b"string":
                    value = await self.redis.get(key)
                case b"zset":
                    value = await self.redis.zrange(key, 0, -1)
                case other:
                    raise AssertionError(f"How does one read a {other!r}?")
            found.append(f"{key!r} {value!r}")
        return "\n".join(found)


@pytest.fixture
async def trail(
    servers: Servers, book: Book, make_process: MakeProcess, make_tap: MakeTap, make_node: MakeNode
) -> AsyncIterator[Trail]:
    """Two nodes and two replicas that log all they can, with taps between and an ear on Redis."""
    settings = {"CONCIERGE_NODE_SECRET": SECRET, "CONCIERGE_STAFF_ENTRY": "required", "CONCIERGE_LOG_LEVEL": "debug"}
    replicas = [await make_process(**settings) for _ in range(2)]
    taps = [await make_tap(replica) for replica in replicas]
    nodes = [await make_node(*taps, limits="on") for _ in range(2)]
    async with Redis.from_url(servers.redis_url) as redis, Redis.from_url(servers.redis_url) as ear:
        made = Trail(book, servers, taps, replicas, nodes, redis)
        async with ear.monitor() as monitor:
            listening = asyncio.create_task(_listen(monitor, made.heard))
            yield made
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening


async def _listen(monitor, heard: list[str]) -> None:
    while True:
        heard.append(str(await monitor.next_command()))


@pytest.fixture
async def marked() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that comes from the marked address."""
    connector = aiohttp.TCPConnector(limit=0, local_addr=(MARK, 0))
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def visit(
    trail: Trail, marked: aiohttp.ClientSession, somebody: Person, session: int, entries: list[str]
) -> None:
    """Do all that one can do at both nodes, with forged headers everywhere, mistakes and failures included."""
    for url in entries:
        stranger = Client(marked, url, headers=FORGED)
        body = {"email": somebody.email, "password": PASSWORD}
        assert (await stranger.post("/auth/login", body)).status == 200
        assert (await stranger.post("/auth/login", {**body, "password": "wrong"})).status == 401
        client = Client(marked, url, somebody.token, FORGED)
        assert (await client.send(session, f"via {url}", f"key {url}")).status == 201
        assert (await client.poll(session, 0)).status == 200
        assert (await client.poll(session, 2**40, Prefer="wait=1")).status == 200
        assert (await client.call("POST", "/messages", raw=b"{not json")).status == 400
        assert (await client.call("POST", "/messages", raw=b"x" * 70_000)).status == 413
        for path in ("/no/such/call", "/sessions/999999999"):
            assert (await client.get(path)).status == 404
        for path in ("/", "/docs", "/metrics", "/no-page", "/healthz"):
            async with marked.get(url + path, headers=FORGED):
                pass
        # (A foreign origin may not open a socket.)
        forged = {name: value for name, value in FORGED.items() if name != "Origin"}
        guest = Person(somebody.id, somebody.email, somebody.token, somebody.role, marked)
        socket = await SocketClient.open(guest, url, **forged)
        reply = await socket.command("send", session_id=session, content="by socket", idempotency_key=f"socket {url}")
        assert reply["type"] == "ok"
        await socket.say("{not json")
        await socket.say(f'{{"type":"typing","session_id":{session}}}')
        await socket.close()
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await SocketClient.open(guest, url, **FORGED)
    # Limits, and what Nginx has to say of a replica that dies or is not there: its error log names clients.
    refused = [
        await Client(marked, entries[0], headers=FORGED).call("POST", "/auth/login", raw=b"") for _ in range(150)
    ]
    assert 429 in {answer.status for answer in refused} or "staff" not in somebody.role
    for replica in trail.replicas:
        os.kill(replica.pid, signal.SIGKILL)
    for url in entries:
        assert (await Client(marked, url, somebody.token, FORGED).get("/auth/me")).status == 502


def hits(text: str) -> list[str]:
    """Give the lines that have the marked address in any shape."""
    return [line for line in text.splitlines() if any(shape in line for shape in SHAPES)]


async def assert_concealed_behind_the_nodes(trail: Trail, somebody: Person) -> None:
    """Search logs, tables and Redis; each search is first shown to find what is there."""
    assert "accounts" in await trail.rows(somebody.email)
    assert [name for shape in SHAPES for name in await trail.rows(shape)] == []
    logs = trail.logs()
    assert all("listening on" in logs[replica.log.name] for replica in trail.replicas)
    assert {name: hits(text) for name, text in logs.items() if hits(text)} == {}
    redis = await trail.keys()
    assert f"account:{somebody.id}" in redis
    assert hits(redis) == []


async def logged(node: TestNode, entry: str) -> str:
    """Give what a node logged, once its last lines are written (they wait for a second)."""

    async def written() -> str:
        text = node.log.read_text()
        return text if f'"entry":"{entry}"' in text and '"status":502' in text else ""

    return await until(written)


async def test_no_trace_of_a_staff_members_address(trail: Trail, marked: aiohttp.ClientSession, people: People) -> None:
    _, staff, session = await people.chat()
    await visit(trail, marked, staff, session, [node.staff for node in trail.nodes])
    assert "X-Forwarded-For: 127.0.0.1" in trail.received
    assert hits(trail.received) == []
    await assert_concealed_behind_the_nodes(trail, staff)
    for node in trail.nodes:
        log = await logged(node, "staff")
        assert '"path":"/api/v1/auth/login"' in log
        assert hits(log) == []


async def test_a_users_address_is_where_it_is_meant_to_be_and_forgeries_change_nothing(
    trail: Trail, marked: aiohttp.ClientSession, people: People
) -> None:
    user, _, session = await people.chat()
    await visit(trail, marked, user, session, [node.user for node in trail.nodes])
    found = hits(trail.received)
    assert found and set(found) == {f"X-Forwarded-For: {MARK}"}
    await assert_concealed_behind_the_nodes(trail, user)
    for node in trail.nodes:
        lines = hits(await logged(node, "user"))
        assert lines and all(f'"address":"{MARK}"' in line or f"client: {MARK}" in line for line in lines)
        assert not any("for=" in line for line in lines)
