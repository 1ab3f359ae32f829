"""Every setting: name, default, meaning. Read once from the environment; a bad value names itself.

`README.md` lists them; a test compares that list with this file.
"""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

Switch = Literal["on", "off"]
# The URLs among the settings, with the schemes that they may have. PostgreSQL's may name several hosts.
SCHEMES = {"DATABASE_URL": ("postgresql", "postgres"), "REDIS_URL": ("redis", "rediss", "unix")}
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(:[0-9]*)?")


class SettingsError(Exception):
    """A setting has a value that cannot be used."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"The setting {name} cannot be used: {why}.")
        self.name = name


def _says(text: str, **bounds: Any) -> Meta:
    return Meta(description=text, **bounds)


class Settings(Struct, frozen=True, kw_only=True):
    """The settings of one replica. The field `pool_size` is `CONCIERGE_POOL_SIZE` in the environment."""

    database_url: Annotated[str, _says("PostgreSQL, as `postgresql://…`.")]
    redis_url: Annotated[str, _says("Redis or Valkey, as `redis://…` or `unix://…`.")] = "redis://127.0.0.1:6379/0"
    host: Annotated[str, _says("The address that this replica listens on.")] = "127.0.0.1"
    port: Annotated[int, _says("The port that this replica listens on.", ge=1, le=65535)] = 8000
    replica: Annotated[str, _says("A name for this replica in logs and in the live registry.")] = ""
    node_secret: Annotated[
        str, _says("What the Nginx nodes prove themselves with; without it no forwarding header is believed.")
    ] = ""
    staff_entry: Annotated[
        Literal["off", "required"],
        _says("`required` keeps staff and admins to the staff entries, and users out of them."),
    ] = "off"
    allowed_origins: Annotated[
        str, _says("Origins, separated by commas, from which browsers may use the cookie and the websocket.")
    ] = ""
    secure_cookies: Annotated[Switch, _says("`on` behind TLS: cookies then travel over HTTPS alone.")] = "off"
    limits: Annotated[Switch, _says("`off` switches every limit off, for load tests on a private host.")] = "on"
    welcome_credits: Annotated[int, _says("Credits granted at registration.", ge=0, le=1_000_000)] = 0
    message_cost_max: Annotated[int, _says("The most that a persona's message may cost.", ge=0, le=1_000_000)] = 1_000
    sends_per_second: Annotated[float, _says("Sends of one account in the long run.", gt=0)] = 20.0
    sends_burst: Annotated[int, _says("Sends of one account at once.", ge=1)] = 400
    polls_per_second: Annotated[float, _says("Polls of one account in the long run.", gt=0)] = 100.0
    polls_burst: Annotated[int, _says("Polls of one account at once.", ge=1)] = 2_000
    logins_per_minute: Annotated[int, _says("Tries to log in for one address and email.", ge=1)] = 10
    registers_per_hour: Annotated[int, _says("Registrations from one address.", ge=1)] = 60
    user_login_days: Annotated[int, _says("How long an unused login of a user holds.", ge=1)] = 30
    staff_login_hours: Annotated[int, _says("How long an unused login of staff or an admin holds.", ge=1)] = 12
    pool_size: Annotated[int, _says("Connections to PostgreSQL besides the six of the batchers.", ge=2, le=100)] = 8
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _says("The least that is logged.")] = "info"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment.

        Raises:
            SettingsError: a value is missing or unusable; it names the setting.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for field, kind in get_type_hints(cls, include_extras=True).items():
            name = environment_name(field)
            if name in environ and (environ[name] != "" or field not in ("database_url",)):
                values[field] = _convert(name, environ[name], kind)
                if name in SCHEMES:
                    check_url(name, environ[name])
        if "database_url" not in values:
            raise SettingsError("DATABASE_URL", "it is not set")
        return cls(**values)

    @property
    def origins(self) -> frozenset[str]:
        """The allowed origins, one by one."""
        return frozenset(origin.strip().rstrip("/") for origin in self.allowed_origins.split(",") if origin.strip())


def environment_name(field: str) -> str:
    """Give the name of a field in the environment."""
    return field.upper() if field in ("database_url", "redis_url") else f"CONCIERGE_{field.upper()}"


def check_url(name: str, text: str) -> None:
    """Look at a URL before anybody tries to connect to it; what it says may be secret and is not repeated.

    Raises:
        SettingsError: it is no URL of PostgreSQL, or of Redis.
    """
    scheme, found, rest = text.partition("://")
    if not found or scheme not in SCHEMES[name]:
        raise SettingsError(name, f"it must begin with {SCHEMES[name][0]}://")
    hosts = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    if not all(HOST.fullmatch(host) for host in hosts.split(",")):
        raise SettingsError(name, "its host must be a name or an address, and its port a number")


def _convert(name: str, text: str, kind: Any) -> Any:
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        raise SettingsError(name, f"it must be {_wanted(kind)}, and it is {text!r}") from None


def _wanted(kind: Any) -> str:
    """Say in words what a setting may be."""
    base, meta = get_args(kind)
    if get_origin(base) is Literal:
        return " or ".join(get_args(base))
    bounds = ((meta.ge, "at least"), (meta.gt, "more than"), (meta.le, "at most"))
    words = [f"{word} {bound}" for bound, word in bounds if bound is not None]
    return ", ".join(["a whole number" if base is int else "a number", *([" and ".join(words)] if words else [])])


def table() -> list[tuple[str, str, str]]:
    """Give (name, default, meaning) of every setting, as the README lists them."""
    rows = []
    for field in msgspec.structs.fields(Settings):
        meaning = next(meta.description for meta in get_args(field.type)[1:] if isinstance(meta, Meta))
        default = "" if field.required else str(field.default)
        rows.append((environment_name(field.name), default, str(meaning)))
    return rows
