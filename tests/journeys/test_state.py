"""Old state plus the events heard is the state that one would fetch, after every action and for both sides."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.people import People, Person
from tests.servers import Replica
from tests.sockets import Event, SocketClient
from tests.until import until

PREVIEW = 120


class Screen:
    """What a client knows of one session and its balance, kept current by events alone."""

    def __init__(self, person: Person, replica: Replica, session_id: int, *, is_user: bool) -> None:
        self.door = person.via(replica)
        self.person, self.replica, self.session_id, self.is_user = person, replica, session_id, is_user
        self.session: dict[str, Any] | None = None
        self.balance: dict[str, Any] = {}
        self.message_ids: list[int] = []

    async def open(self) -> "Screen":
        self.socket = await SocketClient.open(self.person, self.replica)
        self.session, self.balance = await self.fetch()
        return self

    async def fetch(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """Give the session (None when it is not one's own) and the balance as the house says them."""
        answer = await self.door.get(f"/sessions/{self.session_id}")
        balance = (await self.door.get("/credits")).json if self.is_user else {}
        return (_lasting(answer.json) if answer.status == 200 else None), balance

    def shown(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """Apply every event heard so far, and give what is on the screen now."""
        events, self.socket.heard = self.socket.heard, []
        for event in events:
            getattr(self, f"_{event['type']}", lambda event: None)(event)
        return self.session, self.balance

    def _message(self, event: Event) -> None:
        message, mine = event["message"], event["message"]["sender_type"] == ("user" if self.is_user else "persona")
        if self.session is None or message["session_id"] != self.session_id:
            return
        self.session["last_message_id"] = message["id"]
        self.session["last_message"] = {
            "id": message["id"],
            "sender_type": message["sender_type"],
            "preview": message["content"][:PREVIEW],
            "created_at": message["created_at"],
        }
        if not mine:
            self.session["unread_count"] += 1
        if not self.is_user:
            waits = self.session["waiting_since"] or message["created_at"]
            self.session["waiting_since"] = waits if message["sender_type"] == "user" else None
        self._revise(event)

    def _read(self, event: Event) -> None:
        if self.session is None:
            return
        self.session[f"{event['sender_type']}_read_id"] = event["message_id"]
        if event["sender_type"] == ("user" if self.is_user else "persona"):
            self.session["unread_count"] = 0  # all of it was read here; a client counts what came after
        self._revise(event)

    def _session(self, event: Event) -> None:
        if event["session"]["id"] == self.session_id:
            kept = {"unread_count": 0, "last_message": None, **(self.session or {})}
            new = {**kept, **event["session"]}
            self.session = _lasting({**new, **{name: kept[name] for name in ("unread_count", "last_message")}})

    def _gone(self, event: Event) -> None:
        if self.session_id in event["session_ids"]:
            self.session = None

    def _balance(self, event: Event) -> None:
        if event["credit_entry_id"] > self.balance["credit_entry_id"]:
            self.balance |= {name: event[name] for name in ("credit_balance", "credit_entry_id")}

    def _revise(self, event: Event) -> None:
        assert self.session is not None
        if event["revision"]:
            assert event["revision"] == self.session["revision"] + 1, "An event was missed, or its revision is wrong."
            self.session["revision"] = event["revision"]


def _lasting(session: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is not the session's lasting state: who is online right now, and when the row was touched."""
    kept = {name: value for name, value in session.items() if name != "updated_at"}
    for side in ("user", "persona"):
        kept[side] = {name: value for name, value in session[side].items() if name != "online"}
    return kept


class Stage:
    """A chat with a screen for each side, each through a replica of its own."""

    def __init__(self, people: People, two: tuple[Replica, Replica]) -> None:
        self.people, self.two = people, two

    async def set(self) -> "Stage":
        self.user, self.staff, self.session = await self.people.chat(credits=10, cost=2)
        self.admin = await self.people.admin()
        here, there = self.two
        self.by_user, self.by_staff = self.user.via(here), self.staff.via(there)
        self.by_admin = self.admin.via(there)
        self.persona = (await self.by_user.get(f"/sessions/{self.session}")).json["persona"]["id"]
        first = (await self.by_user.send(self.session, "はじめまして")).json["message"]["id"]
        second = (await self.by_staff.send(self.session, "ようこそ")).json["message"]["id"]
        self.first, self.second = first, second
        self.screens = [
            await Screen(self.user, here, self.session, is_user=True).open(),
            await Screen(self.staff, there, self.session, is_user=False).open(),
        ]
        return self


Action = Callable[[Stage], Awaitable[Any]]


async def user_sends(stage: Stage) -> None:
    await stage.by_user.send(stage.session, "お元気ですか" * 40)


async def staff_answers(stage: Stage) -> None:
    await stage.by_staff.send(stage.session, "元気です")


async def user_reads(stage: Stage) -> None:
    await stage.by_user.put(f"/sessions/{stage.session}/read", {"message_id": stage.second})


async def staff_reads(stage: Stage) -> None:
    await stage.by_staff.put(f"/sessions/{stage.session}/read", {"message_id": stage.second})


async def user_closes(stage: Stage) -> None:
    await stage.by_user.post(f"/sessions/{stage.session}/close")


async def staff_closes(stage: Stage) -> None:
    await stage.by_staff.post(f"/sessions/{stage.session}/close")


async def user_closes_and_opens_again(stage: Stage) -> None:
    await user_closes(stage)
    await stage.by_user.post("/sessions", {"persona_id": stage.persona})


async def staff_needs_not_answer(stage: Stage) -> None:
    await stage.by_user.send(stage.session, "ありがとう")
    await stage.by_staff.post(f"/sessions/{stage.session}/waiting", {"waiting": False})


async def staff_will_answer_after_all(stage: Stage) -> None:
    await stage.by_staff.post(f"/sessions/{stage.session}/waiting", {"waiting": True})


async def staff_hands_over(stage: Stage) -> None:
    other = await stage.people.staff()
    await stage.by_staff.patch(f"/personas/{stage.persona}", {"staff_account_id": other.id})


async def admin_grants(stage: Stage) -> None:
    await stage.by_admin.post("/credits/grants", {"account_id": stage.user.id, "amount": 50, "note": "お詫び"})


async def admin_refunds(stage: Stage) -> None:
    await stage.by_admin.post(f"/messages/{stage.first}/refund", {"note": "お詫び"})


ACTIONS: list[Action] = [
    user_sends, staff_answers, user_reads, staff_reads, user_closes, staff_closes, user_closes_and_opens_again,
    staff_needs_not_answer, staff_will_answer_after_all, staff_hands_over, admin_grants, admin_refunds,
]  # fmt: skip


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_old_state_plus_events_is_the_fetched_state(
    two: tuple[Replica, Replica], people: People, action: Action
) -> None:
    stage = await Stage(people, two).set()
    before = [await screen.fetch() for screen in stage.screens]
    await action(stage)
    after = [await screen.fetch() for screen in stage.screens]
    assert before != after
    for screen, fetched in zip(stage.screens, after, strict=True):

        async def agrees(screen: Screen = screen, fetched: Any = fetched) -> bool:
            return screen.shown() == fetched

        try:
            await until(agrees, 2)
        except AssertionError:
            assert screen.shown() == fetched


async def test_a_new_owner_hears_the_sessions_that_come_with_a_persona(
    two: tuple[Replica, Replica], people: People
) -> None:
    stage = await Stage(people, two).set()
    other = await people.staff()
    desk = await SocketClient.open(other, two[0])
    await stage.by_staff.patch(f"/personas/{stage.persona}", {"staff_account_id": other.id})
    session = (await desk.event("session"))["session"]
    assert (session["id"], session["persona"]["id"]) == (stage.session, stage.persona)
    await stage.by_user.send(stage.session, "新しい担当の方ですか")
    assert (await desk.event("message"))["message"]["content"] == "新しい担当の方ですか"
    lost = stage.screens[1].socket
    assert (await lost.event("gone"))["session_ids"] == [stage.session]
    assert lost.events("message") == []
