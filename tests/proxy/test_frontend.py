"""A node in front of a frontend: pages pass, files are kept, addresses do not get there either."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.proxy.conftest import MakeNode
from tests.proxy.nodes import free_ports
from tests.proxy.test_concealment import FORGED, MARK, hits
from tests.servers import Replica


class Frontend:
    """Answers every path with itself, and keeps what it received."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.paths: list[str] = []
        self.port = 0
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self.runner = web.AppRunner(app, access_log=None)

    async def start(self) -> "Frontend":
        await self.runner.setup()
        self.port = free_ports(1)[0]
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()
        return self

    async def _answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        self.received += [f"{name}: {value}" for name, value in request.headers.items()]
        if request.path == "/missing":
            return web.Response(text="the frontend's own 404", status=404)
        headers = {"Cache-Control": "public, max-age=31536000, immutable"} if "static" in request.path else {}
        return web.Response(text=f"the frontend's {request.path}", headers=headers)


@pytest.fixture
async def frontend() -> AsyncIterator[Frontend]:
    started = await Frontend().start()
    yield started
    await started.runner.cleanup()


async def _get(http: aiohttp.ClientSession, url: str, **headers: str) -> tuple[int, str]:
    async with http.get(url, headers=headers) as response:
        return response.status, await response.text()


async def test_pages_and_what_they_need_to_know_pass(
    guarded: Replica, make_node: MakeNode, frontend: Frontend, http: aiohttp.ClientSession
) -> None:
    node = await make_node(guarded, frontend_port=frontend.port)
    wanted = {"RSC": "1", "Cookie": "locale=ja", "Accept": "text/x-component", "Next-Url": "/chat"}
    assert await _get(http, f"{node.user}/chat/7?_rsc=1", **wanted) == (200, "the frontend's /chat/7")
    assert {f"{name}: {value}" for name, value in wanted.items()} <= set(frontend.received)
    assert f"Host: {node.user.removeprefix('http://')}" in frontend.received
    assert await _get(http, f"{node.user}/missing") == (404, "the frontend's own 404")
    assert (await _get(http, f"{node.user}/api/v1/auth/me"))[0] == 401
    assert (await _get(http, f"{node.user}/metrics"))[0] == 404
    assert frontend.paths == ["/chat/7", "/missing"]


async def test_files_are_asked_for_once_and_without_a_login(
    guarded: Replica, make_node: MakeNode, frontend: Frontend, http: aiohttp.ClientSession
) -> None:
    node = await make_node(guarded, frontend_port=frontend.port)
    for url in (node.user, node.staff, node.user):
        answer = await _get(http, f"{url}/_next/static/chunk.js", Cookie="concierge_login=secret")
        assert answer == (200, "the frontend's /_next/static/chunk.js")
    assert frontend.paths == ["/_next/static/chunk.js"]
    assert not [line for line in frontend.received if "secret" in line]


async def test_a_staff_members_address_does_not_reach_the_frontend(
    guarded: Replica, make_node: MakeNode, frontend: Frontend
) -> None:
    node = await make_node(guarded, frontend_port=frontend.port)
    # (The frontend reads cookies and what a page accepts; both are what a browser was told to say, not where it is.)
    forged = {name: value for name, value in FORGED.items() if name not in ("Cookie", "Accept")}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(MARK, 0))) as marked:
        for path in ("/", "/desk", "/_next/static/a.css"):
            assert (await _get(marked, node.staff + path, **forged))[0] == 200
        assert hits("\n".join(frontend.received)) == []
        assert "X-Forwarded-For: 127.0.0.1" in frontend.received
        await _get(marked, node.user, **forged)
    assert set(hits("\n".join(frontend.received))) == {f"X-Forwarded-For: {MARK}"}


async def test_while_the_frontend_is_away_people_are_told_so_and_the_application_goes_on(
    guarded: Replica, make_node: MakeNode, http: aiohttp.ClientSession
) -> None:
    node = await make_node(guarded, frontend_port=free_ports(1)[0])
    status, page = await _get(http, node.user)
    assert (status, "ただいま混み合っています" in page) == (502, True)
    assert (await _get(http, f"{node.user}/docs"))[0] == 200
