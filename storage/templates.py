"""Templates: texts that staff send often, their own and those shared by all staff."""

from typing import Any

from storage.database import Database
from storage.records import Template

_COLUMNS = "id, staff_account_id, persona_id, title, shortcut, body, use_count, created_at, updated_at"


async def create(database: Database, staff_account_id: int | None, fields: dict[str, Any]) -> Template:
    """Create a template; without an owner it is shared.

    Raises:
        Conflict: there is no such persona.
    """
    sql = f"""insert into templates(staff_account_id, persona_id, title, shortcut, body)
    values ($1, $2, $3, $4, $5) returning {_COLUMNS}"""
    values = (fields["persona_id"], fields["title"], fields["shortcut"], fields["body"])
    row = await database.fetchrow(sql, staff_account_id, *values, writes=True)
    assert row is not None
    return Template(**row)


async def visible(database: Database, account_id: int, after: int | None, limit: int) -> list[Template]:
    """Give an account's own and the shared templates, in order of id."""
    sql = f"""select {_COLUMNS} from templates
    where (staff_account_id = $1 or staff_account_id is null) and ($2::bigint is null or id > $2)
    order by id limit $3"""
    return [Template(**row) for row in await database.fetch(sql, account_id, after, limit)]


async def get(database: Database, template_id: int, account_id: int) -> Template | None:
    """Give a template that the account may use."""
    sql = f"""select {_COLUMNS} from templates
    where id = $1 and (staff_account_id = $2 or staff_account_id is null)"""
    row = await database.fetchrow(sql, template_id, account_id)
    return Template(**row) if row else None


async def edit(database: Database, template_id: int, fields: dict[str, Any]) -> Template | None:
    """Change some columns. Who may is the caller's question."""
    sql = f"""update templates set title = coalesce($2, title), shortcut = coalesce($3, shortcut),
      body = coalesce($4, body), updated_at = clock_timestamp() where id = $1 returning {_COLUMNS}"""
    values = (fields.get("title"), fields.get("shortcut"), fields.get("body"))
    row = await database.fetchrow(sql, template_id, *values, writes=True)
    return Template(**row) if row else None


async def delete(database: Database, template_id: int) -> None:
    """Forget a template. Messages made from it stay as they are."""
    await database.fetch("delete from templates where id = $1", template_id, writes=True)


async def used(database: Database, template_id: int, account_id: int) -> None:
    """Count a use, so that the desk can offer the most used first."""
    sql = """update templates set use_count = use_count + 1
    where id = $1 and (staff_account_id = $2 or staff_account_id is null)"""
    await database.fetch(sql, template_id, account_id, writes=True)
