"""Personas: list, create, edit, and hand over with all their sessions."""

from collections.abc import Sequence
from typing import Any

from msgspec import structs

from server.actions import announce
from server.actions.accounts import clean_name
from server.auth import Caller
from server.context import Context
from server.errors import Invalid, Refusal
from server.wire import requests, responses
from server.wire.codec import cut, read_cursor
from storage import audit, personas
from storage.records import Persona


async def _wire(context: Context, caller: Caller, records: Sequence[Persona]) -> list[responses.Persona]:
    online = await context.presence.online({str(record.staff_account_id) for record in records}) if records else set()
    for_staff = not caller.is_user
    return [
        responses.Persona.of(record, online=str(record.staff_account_id) in online, for_staff=for_staff)
        for record in records
    ]


def _may_see(caller: Caller, record: Persona) -> bool:
    return record.is_active or caller.role == "admin" or record.staff_account_id == caller.account_id


async def listing(context: Context, caller: Caller, query: requests.Paging) -> responses.Items[responses.Persona]:
    """Give the personas that the caller may see."""
    (after,) = read_cursor(query.cursor, tuple[int]) or (None,)
    found = await personas.visible(
        context.book,
        active_only=caller.role != "admin",
        or_owned_by=None if caller.is_user else caller.account_id,
        after=after,
        limit=query.limit + 1,
    )
    page, cursor = cut(found, query.limit, lambda last: [last.id])
    return responses.Items(await _wire(context, caller, page), cursor)


async def get(context: Context, caller: Caller, persona_id: int) -> responses.Persona:
    """Give one persona that the caller may see."""
    record = await personas.get(context.book, persona_id)
    if record is None or not _may_see(caller, record):
        raise Refusal("not_found")
    return (await _wire(context, caller, [record]))[0]


def _check_price(context: Context, cost: int | None) -> None:
    most = context.settings.message_cost_max
    if cost is not None and cost > most:
        raise Invalid(("message_cost", f"must be at most {most}."))


async def create(context: Context, caller: Caller, body: requests.NewPersona) -> responses.Persona:
    """Create a persona: staff for themselves, an admin for any staff account."""
    _check_price(context, body.message_cost)
    staff_id = body.staff_account_id or caller.account_id
    if caller.role == "staff" and staff_id != caller.account_id:
        raise Invalid(("staff_account_id", "must be your own; hand the persona over once it is there."))
    fields = {**structs.asdict(body), "name": clean_name(body.name, "name")}
    record = await personas.create(context.book, staff_id, fields)
    if record is None:
        raise Invalid(("staff_account_id", "must be an active staff account."))
    await audit.record(
        context.book, caller.account_id, "persona.create", "persona", record.id, staff_account_id=staff_id
    )
    return (await _wire(context, caller, [record]))[0]


async def edit(context: Context, caller: Caller, persona_id: int, body: requests.EditPersona) -> responses.Persona:
    """Edit a persona, and hand it over if a staff account is named: the owning staff or an admin may."""
    _check_price(context, body.message_cost)
    owner_id = caller.account_id if caller.role == "staff" else None
    fields: dict[str, Any] = {name: value for name, value in structs.asdict(body).items() if value is not None}
    new_owner = fields.pop("staff_account_id", None)
    if "name" in fields:
        fields["name"] = clean_name(fields["name"], "name")
    record = await personas.get(context.book, persona_id)
    if record is None or owner_id not in (None, record.staff_account_id):
        raise Refusal("not_found")
    if new_owner is not None and new_owner != record.staff_account_id:
        # First, for it may be refused, and then nothing else may be done. Whoever hands over may edit as well.
        await _hand_over(context, caller, record, owner_id, new_owner)
        owner_id = None
    edited = await personas.edit(context.book, persona_id, owner_id, fields)
    if edited is None:
        raise Refusal("not_found")
    if fields:
        await audit.record(
            context.book, caller.account_id, "persona.edit", "persona", persona_id, fields=sorted(fields)
        )
    return (await _wire(context, caller, [edited]))[0]


async def _hand_over(context: Context, caller: Caller, record: Persona, owner_id: int | None, new_owner: int) -> None:
    moved = await personas.hand_over(context.book, record.id, owner_id, new_owner)
    if moved.outcome == "not_staff":
        raise Invalid(("staff_account_id", "must be an active staff account."))
    if moved.outcome == "not_found":  # somebody else handed it over a moment ago
        raise Refusal("not_found")
    if moved.outcome == "handed_over":
        assert moved.was is not None
        announce.gone(context, moved.was, moved.session_ids)
        await audit.record(
            context.book,
            caller.account_id,
            "persona.hand_over",
            "persona",
            record.id,
            was=moved.was,
            now=new_owner,
        )
        await announce.sessions_by_id(context, moved.session_ids)
