"""The baseline of the polls: a bare aiohttp handler that returns the bytes of an idle poll, and knows nothing."""

import sys

import uvloop
from aiohttp import web

HEADERS = {
    "Content-Type": "application/json",
    "X-Next-Poll-Ms": "1000",
    "X-Session-Revision": "1",
    "X-Credit-Balance": "100000000",
    "X-Request-Id": "0123456789-1",
}


async def handler(request: web.Request) -> web.Response:
    """Say that there is nothing."""
    return web.Response(body=b"[]", headers=HEADERS)


async def websocket(request: web.Request) -> web.StreamResponse:
    """Listen, and say nothing."""
    socket: web.WebSocketResponse = web.WebSocketResponse(compress=False, heartbeat=25, max_msg_size=64 * 1024)
    await socket.prepare(request)
    async for _ in socket:
        pass
    return socket


def main(port: int) -> None:
    """Serve on a loopback port."""
    app = web.Application()
    app.router.add_get("/api/v1/messages/poll", handler)
    app.router.add_get("/", handler)
    app.router.add_get("/ws", websocket)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    main(int(sys.argv[1]))
