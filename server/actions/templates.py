"""Templates, and their strict rendering: what has no value is named, and never sent as a gap.

Placeholders: `{{user.name}}`, `{{persona.name}}`, `{{persona.attributes.KEY}}`, each with an optional fallback
(`{{user.name|お客様}}`), and prompts to whoever sends (`{{?hotel}}`). One pass: values are never scanned again.
"""

import re
from collections.abc import Mapping

from msgspec import structs

from server.auth import Caller
from server.context import Context
from server.errors import Invalid, Refusal
from server.wire import requests, responses
from server.wire.codec import cut, read_cursor
from storage import personas, sessions, templates
from storage.errors import Conflict
from storage.records import Template

_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")


class Unresolved(Exception):
    """Some placeholders have no value."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


def fill(body: str, values: Mapping[str, str], answers: Mapping[str, str]) -> str:
    """Fill every placeholder of a template.

    Raises:
        Unresolved: it names each that has no value, or an empty one.
    """
    missing: list[str] = []

    def value(found: re.Match[str]) -> str:
        name, _, fallback = (part.strip() for part in found.group(1).partition("|"))
        if name.startswith("?"):
            name = "?" + name[1:].strip()
            known = answers.get(name[1:], "")
        else:
            known = values.get(name, "")
        text = known.strip() or fallback
        if not text and (name or "{{}}") not in missing:
            missing.append(name or "{{}}")
        return text

    filled = _PLACEHOLDER.sub(value, body)
    # Braces that are no placeholder at all are a slip of the pen; the user must not see them.
    bare = _PLACEHOLDER.sub(" ", body)
    missing += [mark for mark in ("{{", "}}") if mark in bare]
    if missing:
        raise Unresolved(missing)
    return filled


async def listing(context: Context, caller: Caller, query: requests.Paging) -> responses.Items[responses.Template]:
    """Give the caller's own and the shared templates."""
    (after,) = read_cursor(query.cursor, tuple[int]) or (None,)
    found = await templates.visible(context.book, caller.account_id, after, query.limit + 1)
    page, cursor = cut(found, query.limit, lambda last: [last.id])
    return responses.Items([responses.Template.of(record) for record in page], cursor)


async def create(context: Context, caller: Caller, body: requests.NewTemplate) -> responses.Template:
    """Create a template of one's own, or one that all staff share."""
    fields = structs.asdict(body)
    owner = None if fields.pop("shared") else caller.account_id
    try:
        return responses.Template.of(await templates.create(context.book, owner, fields))
    except Conflict:
        raise Invalid(("persona_id", "is no persona.")) from None


async def _own(context: Context, caller: Caller, template_id: int) -> Template:
    record = await templates.get(context.book, template_id, caller.account_id)
    if record is None:
        raise Refusal("not_found")
    return record


async def edit(context: Context, caller: Caller, template_id: int, body: requests.EditTemplate) -> responses.Template:
    """Edit one's own or a shared template."""
    await _own(context, caller, template_id)
    record = await templates.edit(context.book, template_id, structs.asdict(body))
    if record is None:
        raise Refusal("not_found")
    return responses.Template.of(record)


async def delete(context: Context, caller: Caller, template_id: int) -> None:
    """Forget one's own or a shared template."""
    await _own(context, caller, template_id)
    await templates.delete(context.book, template_id)


async def render(
    context: Context, caller: Caller, template_id: int, body: requests.RenderTemplate
) -> responses.Rendered:
    """Fill a template for one of the caller's chats."""
    record = await _own(context, caller, template_id)
    session = await sessions.get(context.book, body.session_id, caller.account_id)
    if session is None or session.staff_account_id != caller.account_id:
        raise Refusal("not_found", "The session is none of your chats.")
    persona = await personas.get(context.book, session.persona_id)
    values = {"user.name": session.user_display_name, "persona.name": session.persona_name}
    for key, value in (persona.attributes if persona else {}).items():
        values[f"persona.attributes.{key}"] = "" if value is None else str(value)
    try:
        return responses.Rendered(fill(record.body, values, body.answers))
    except Unresolved as unresolved:
        raise Refusal(
            "unresolved_placeholders",
            f"These placeholders have no value: {unresolved}.",
            placeholders=unresolved.names,
            errors=[{"field": name, "message": "has no value."} for name in unresolved.names],
        ) from None
