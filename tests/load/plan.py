"""What a run is asked for: who talks, through which doors, how fast and how long."""

from typing import Literal

from msgspec import Struct

Side = Literal["user", "staff"]


class Plan(Struct, kw_only=True, frozen=True):
    """One run.

    Args:
        user_doors, staff_doors: base URLs; people are spread over them, and go on to the next when one fails.
        node_secret: what a node proves itself with, where the doors are replicas; empty where they are nodes.
        database_url: where people are made; empty when `people` names a file with the output of `seed`.
        rate: sends a second of all together.
        seconds: how long sends are begun; verification comes after.
        way: how users and staff learn of messages.
        hold: seconds for which users' polls ask to be held; 0 for plain polls.
    """

    user_doors: list[str]
    staff_doors: list[str]
    node_secret: str = ""
    database_url: str = ""
    people: str = ""
    users: int = 50
    staff: int = 4
    rate: float = 50.0
    seconds: float = 10.0
    way: Literal["poll", "socket"] = "poll"
    hold: int = 0

    def doors(self, side: Side) -> list[str]:
        """Give the doors of a side."""
        return self.user_doors if side == "user" else self.staff_doors

    def headers(self, side: Side) -> dict[str, str]:
        """Give what a node would add, when the doors are replicas."""
        if not self.node_secret:
            return {}
        told = {"X-Node-Secret": self.node_secret, "X-Entry": side, "X-Site": "load"}
        return told | {"X-Forwarded-For": "127.0.0.1"}
