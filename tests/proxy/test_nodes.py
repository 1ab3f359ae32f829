"""A node in front of real replicas: what passes, what it answers itself, and what it does not believe."""

import asyncio
import json
import os
import signal
import time
from typing import Any

import aiohttp
import pytest

from server.routes import socket as door
from tests.conftest import MakeProcess, MakeReplica
from tests.people import PASSWORD, Answer, Client, People
from tests.proxy.conftest import MakeNode, MakeTap
from tests.proxy.nodes import SECRET, free_ports
from tests.servers import Replica
from tests.sockets import SocketClient
from tests.until import until


def is_own_problem(answer: Answer, status: int, code: str) -> bool:
    """Check that this is a whole problem document of the node, with what comes with it."""
    answer.refused(status, code)
    return ("Retry-After" in answer.headers) == answer.json["retryable"]


async def test_a_whole_chat_goes_through_both_entries(guarded: Replica, make_node: MakeNode, people: People) -> None:
    tokyo, osaka = await make_node(guarded), await make_node(guarded)
    user, staff, session = await people.chat(credits=10)
    at_desk = await SocketClient.open(staff, osaka.staff)
    sent = await user.via(tokyo.user).send(session, "こんにちは")
    assert (sent.status, sent.json["credit_balance"]) == (201, 9)
    await at_desk.event("message")
    replied = await at_desk.command("send", session_id=session, content="お待ちしておりました", idempotency_key="k")
    assert replied["type"] == "ok"
    answers = (await user.via(osaka.user).poll(session, sent.json["message"]["id"])).json
    assert [row["content"] for row in answers] == ["お待ちしておりました"]


async def test_each_role_is_kept_to_its_entry_and_the_site_of_a_login_is_known(
    guarded: Replica, make_node: MakeNode, people: People
) -> None:
    node = await make_node(guarded)
    user, staff, admin = await people.user(), await people.staff(), await people.admin()

    async def log_in(url: str, email: str) -> Answer:
        return await Client(people.http, url).post("/auth/login", {"email": email, "password": PASSWORD})

    assert (await log_in(node.user, staff.email)).code == "bad_credentials"
    assert (await log_in(node.staff, user.email)).code == "bad_credentials"
    assert (await user.via(node.staff).get("/auth/me")).code == "wrong_entry"
    assert (await staff.via(node.user).get("/auth/me")).code == "wrong_entry"
    token = (await log_in(node.staff, staff.email)).json["token"]
    assert (await Client(people.http, node.staff, token).get("/auth/me")).status == 200

    async def site() -> str | None:
        members = (await admin.via(node.staff).get("/staff")).json["items"]
        return next(member["site"] for member in members if member["id"] == staff.id)

    assert await until(site) == "tokyo"


async def test_a_forged_entry_or_address_has_no_effect(
    guarded: Replica, make_node: MakeNode, make_tap: MakeTap, people: People
) -> None:
    tap = await make_tap(guarded)
    node = await make_node(tap)
    staff = await people.staff()
    forged = {"X-Entry": "staff", "X-Site": "forged", "X-Forwarded-For": "203.0.113.7", "X-Node-Secret": "guess"}
    for url in (node.user, guarded.url):
        assert (await staff.via(url).get("/auth/me", **forged)).code == "wrong_entry"
    assert (await staff.via(guarded.url).get("/auth/me", **{"X-Entry": "staff"})).code == "wrong_entry"
    assert (await staff.via(node.staff).get("/auth/me", **{**forged, "X-Entry": "user"})).status == 200
    assert tap.headers("X-Entry") == {"user", "staff"}
    assert tap.headers("X-Site") == {"tokyo"}
    assert tap.headers("X-Node-Secret") == {SECRET}
    assert tap.headers("X-Forwarded-For") == {"127.0.0.1"}


async def test_an_entry_hands_on_its_own_login_cookie_alone(
    guarded: Replica, make_node: MakeNode, make_tap: MakeTap, people: People
) -> None:
    tap = await make_tap(guarded)
    node = await make_node(tap)
    both = {"Cookie": "other=1; concierge_login=of-the-user; concierge_staff=of-the-desk"}
    await Client(people.http, node.user).get("/auth/me", **both)
    assert tap.headers("Cookie") == {"concierge_login=of-the-user"}
    tap.received.clear()
    await Client(people.http, node.staff).get("/auth/me", **both)
    assert tap.headers("Cookie") == {"concierge_staff=of-the-desk"}


async def test_the_house_keeps_its_own_pages_to_itself(guarded: Replica, make_node: MakeNode, people: People) -> None:
    node = await make_node(guarded)
    for url in (node.user, node.staff):
        for path in ("/metrics", "/readyz"):
            assert is_own_problem(await Client(people.http, url).get(path), 404, "not_found")
        for path in ("/%6detrics", "//metrics", "/api/../metrics", "/docs/%2e%2e/readyz"):
            async with people.http.get(url + path, headers={"Accept-Language": "ja"}) as response:
                assert response.status == 404
        assert (await Client(people.http, url).get("/healthz")).status == 200


async def test_a_node_without_a_frontend_shows_a_page_in_both_languages(
    guarded: Replica, make_node: MakeNode, http: aiohttp.ClientSession
) -> None:
    node = await make_node(guarded)
    async with http.get(node.user) as response:
        page = await response.text()
        assert response.status == 200
    assert "コンシェルジュ" in page and "API is described here" in page and 'href="/docs' in page
    assert "127.0.0.1" not in page
    async with http.get(f"{node.user}/docs") as response:
        assert (response.status, "Content-Security-Policy" in response.headers) == (200, True)
    async with http.get(f"{node.user}/no/such/page") as response:
        assert (response.status, "<!doctype html>" in await response.text()) == (404, True)


async def test_security_headers_are_on_every_answer(
    guarded: Replica, make_node: MakeNode, http: aiohttp.ClientSession
) -> None:
    node = await make_node(guarded)
    for path in ("/", "/docs", "/api/v1/auth/me", "/metrics", "/nothing"):
        async with http.get(node.staff + path) as response:
            assert response.headers.getall("X-Content-Type-Options") == ["nosniff"]
            assert response.headers.getall("Referrer-Policy") == ["same-origin"]
            assert len(response.headers.getall("Content-Security-Policy")) == 1
            assert response.headers["Server"] == "nginx"


async def test_a_body_that_is_too_large_is_a_problem_of_the_node(
    guarded: Replica, make_node: MakeNode, people: People
) -> None:
    user = (await people.user()).via(await _user_entry(make_node, guarded))
    assert is_own_problem(await user.post("/messages", {"content": "a" * 70_000}), 413, "body_too_large")
    told = await user.post("/messages", {"content": "a" * 70_000}, Accept_Language="ja-JP,en")
    assert told.json["title"] == "本文が64KiBを超えています。"


async def _user_entry(make_node: MakeNode, *upstreams: Any) -> str:
    return (await make_node(*upstreams)).user


async def test_without_replicas_reads_are_unavailable_and_so_are_sends_that_never_left(
    make_node: MakeNode, people: People
) -> None:
    class Nobody:
        url = f"http://127.0.0.1:{free_ports(1)[0]}"

    user = (await people.user()).via(await _user_entry(make_node, Nobody()))
    for answer in [await user.get("/auth/me"), await user.send(1, "a")]:
        assert is_own_problem(answer, 502, "unavailable")
        assert answer.json["retry_after_ms"] == 1000


async def test_a_send_whose_answer_was_lost_is_told_with_the_key_to_try_again(
    make_node: MakeNode, make_process: MakeProcess, people: People
) -> None:
    replica = await make_process(CONCIERGE_NODE_SECRET=SECRET)
    user, _, session = await people.chat()
    node = await make_node(replica, seconds={10: 0.3, 5: 0.3})
    os.kill(replica.pid, signal.SIGSTOP)
    lost = await user.via(node.user).send(session, "lost?")
    told = await user.via(node.user).send(session, "keyed", "my-key")
    read = await user.via(node.user).get("/auth/me")
    os.kill(replica.pid, signal.SIGCONT)
    assert is_own_problem(lost, 504, "outcome_unknown")
    assert is_own_problem(told, 504, "outcome_unknown") and told.json["idempotency_key"] == "my-key"
    assert is_own_problem(read, read.status, "unavailable") and read.status in (502, 504)
    # Whatever became of it: the key that the node gave settles it.
    assert (await user.via(node.user).send(session, "lost?", lost.json["idempotency_key"])).status == 201
    rows = (await user.via(node.user).poll(session, 0)).json
    assert [row["content"] for row in rows].count("lost?") == 1


async def test_too_many_calls_are_limited_at_the_user_entry_and_not_where_limits_are_off(
    guarded: Replica, make_node: MakeNode, people: People
) -> None:
    limited, free = await make_node(guarded, limits="on"), await make_node(guarded)

    async def statuses(url: str, count: int) -> list[Answer]:
        tries = (Client(people.http, url).call("POST", "/auth/login", raw=b"no json") for _ in range(count))
        return list(await asyncio.gather(*tries))

    for url, burst in ((limited.staff, 120), (limited.user, 200)):
        answers = await statuses(url, burst + 40)
        refused = [answer for answer in answers if answer.status == 429]
        assert 20 <= len(refused) <= 40
        assert is_own_problem(refused[0], 429, "rate_limited")
        assert {answer.status for answer in await statuses(free.user, burst + 40)} == {400}


async def test_a_frozen_replica_is_noticed_and_left_alone(
    make_node: MakeNode, make_process: MakeProcess, people: People
) -> None:
    frozen = await make_process(CONCIERGE_NODE_SECRET=SECRET)
    healthy = await make_process(CONCIERGE_NODE_SECRET=SECRET)
    node = await make_node(frozen, healthy, seconds={5: 0.5})
    user = (await people.user()).via(node.user)
    os.kill(frozen.pid, signal.SIGSTOP)
    began = time.monotonic()
    first = await asyncio.gather(*(user.get("/auth/me") for _ in range(20)))
    assert {answer.status for answer in first} == {200}
    assert 0.4 < time.monotonic() - began < 3
    began = time.monotonic()
    for _ in range(20):
        assert (await user.get("/auth/me")).status == 200
    assert time.monotonic() - began < 0.5
    os.kill(frozen.pid, signal.SIGCONT)


async def test_a_held_poll_may_take_longer_than_a_quick_one(
    guarded: Replica, make_node: MakeNode, people: People
) -> None:
    node = await make_node(guarded, seconds={5: 0.3})
    user, _, session = await people.chat()
    began = time.monotonic()
    held = await user.via(node.user).poll(session, 0, Prefer="wait=1")
    assert (held.status, held.json, held.headers["Preference-Applied"]) == (200, [], "wait=1")
    assert time.monotonic() - began > 0.9


async def test_an_idle_websocket_lives_by_the_heartbeat_alone(
    guarded: Replica, make_node: MakeNode, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await make_node(guarded, seconds={75: 0.8})
    user = await people.user()

    async def pings(heartbeat_seconds: float, most: int) -> int:
        """Count the heartbeats that come before the node gives up, up to `most`."""
        monkeypatch.setattr(door, "HEARTBEAT_SECONDS", heartbeat_seconds)
        headers = {"Authorization": f"Bearer {user.token}"}
        async with people.http.ws_connect(f"{node.user}/api/v1/ws", headers=headers, autoping=False) as socket:
            assert json.loads((await socket.receive()).data)["type"] == "hello"
            count = 0
            while count < most and not socket.closed:
                frame = await socket.receive(timeout=5)
                if frame.type is aiohttp.WSMsgType.PING:
                    count += 1
                    await socket.pong(frame.data)
        return count

    assert await pings(30, 1) == 0  # too seldom for this node: it closes
    assert await pings(0.3, 8) == 8  # 2.2 s, three times its patience


async def test_sockets_are_upgraded_only_where_they_are(
    make_replica: MakeReplica, make_node: MakeNode, make_tap: MakeTap, people: People
) -> None:
    tap = await make_tap(await make_replica(node_secret=SECRET))
    node = await make_node(tap, origins=[])
    user = await people.user()
    await user.via(node.user).get("/auth/me", Connection="Upgrade", Upgrade="h2c")
    assert tap.headers("Upgrade") == set()
    socket = await SocketClient.open(user, node.user)
    assert tap.headers("Upgrade") == {"websocket"}
    await socket.close()
    foreign = {"Authorization": f"Bearer {user.token}", "Origin": "https://evil.example.com"}
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await people.http.ws_connect(f"{node.user}/api/v1/ws", headers=foreign)
    assert refused.value.status == 403
    # A page of the very host that was asked for is no stranger.
    await (await SocketClient.open(user, node.user, Origin=node.user)).close()
    assert tap.headers("Origin") == {"null", "http://concierge"}
