"""The examples beside this file are the frames: every kind has one, and each is read and written back unchanged."""

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from server.recent import MESSAGE, Seen
from server.wire import frames
from server.wire.codec import CommandCodec, encode
from tests.people import People
from tests.servers import Replica
from tests.sockets import SocketClient

HERE = Path(__file__).parent
COMMANDS = sorted((HERE / "commands").glob("*.json"))
EVENTS = sorted((HERE / "events").glob("*.json"))


def tags(union: Any) -> set[str]:
    return {kind.__struct_config__.tag for kind in get_args(union)}


def types(paths: list[Path]) -> set[str]:
    return {json.loads(path.read_text())["type"] for path in paths}


def test_every_kind_of_frame_has_an_example() -> None:
    assert types(COMMANDS) == tags(frames.AnyCommand)
    assert types(EVENTS) == tags(frames.AnyEvent)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_commands_are_understood_with_every_member(path: Path) -> None:
    example = json.loads(path.read_text())
    command = CommandCodec(frames.AnyCommand)(path.read_text())
    given = {name: value for name, value in json.loads(encode(command)).items() if value is not None}
    assert given == example


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_events_are_said_with_every_member(path: Path) -> None:
    event = msgspec.json.decode(path.read_bytes(), type=frames.AnyEvent)
    assert json.loads(encode(event)) == json.loads(path.read_text())


@pytest.mark.parametrize(
    "path", [path for path in EVENTS if path.stem.startswith("message")], ids=lambda path: path.stem
)
def test_a_messages_id_is_read_without_decoding(path: Path) -> None:
    raw = encode(msgspec.json.decode(path.read_bytes(), type=frames.AnyEvent))
    assert raw.startswith(MESSAGE)
    seen = Seen()
    seen.note(raw)
    assert seen.ids == [json.loads(raw)["message"]["id"]]


def test_other_events_are_no_messages() -> None:
    seen = Seen()
    for path in EVENTS:
        if not path.stem.startswith("message"):
            seen.note(encode(msgspec.json.decode(path.read_bytes(), type=frames.AnyEvent)))
    assert seen.ids == []


@pytest.mark.parametrize("text", [path.read_text() for path in COMMANDS], ids=[path.stem for path in COMMANDS])
async def test_a_replica_understands_the_example(replica: Replica, people: People, text: str) -> None:
    """Its session is nobody's here: anything but a complaint about the frame itself will do."""
    socket = await SocketClient.open(await people.user(), replica)
    await socket.say(text)
    await socket.command("ping")
    assert not [error for error in socket.events("error") if error["code"] in ("malformed_body", "validation_failed")]
