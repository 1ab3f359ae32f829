"""Templates: one's own and the shared ones, and their strict rendering over HTTP (its rules: tests/actions)."""

from typing import Any

import pytest

from tests.people import Client
from tests.routes.conftest import House
from tests.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIELDS = {
    "id", "persona_id", "title", "shortcut", "body", "use_count", "shared", "created_at", "updated_at",
}  # fmt: skip


async def _make(client: Client, body: str = "こんにちは", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = (await client.post("/templates", {"title": "挨拶", "body": body, **more})).done(201)
    return made


async def _visible(client: Client) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    cursor = ""
    while True:
        page = (await client.get(f"/templates?limit=5{cursor}")).done()
        found |= {item["id"]: item for item in page["items"]}
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


async def test_ones_own_and_the_shared_ones_are_listed_and_nobody_elses(house: House) -> None:
    own, other = house.desk(await house.people.staff()), house.desk(await house.people.staff())
    mine = await _make(own, shortcut="hi")
    shared = await _make(own, shared=True)
    theirs = await _make(other)
    assert set(mine) == FIELDS
    assert (mine["shared"], shared["shared"], mine["shortcut"], mine["use_count"]) == (False, True, "hi", 0)
    for _ in range(7):
        await _make(own)
    listed = await _visible(own)
    assert listed[mine["id"]] == mine
    assert {mine["id"], shared["id"]} <= set(listed) and theirs["id"] not in listed
    assert shared["id"] in await _visible(other)


async def test_somebody_elses_template_is_not_found(house: House) -> None:
    own, other = house.desk(await house.people.staff()), house.desk(await house.people.staff())
    _, staff, session = await house.people.chat()
    template = (await _make(own))["id"]
    for answer in (
        await other.patch(f"/templates/{template}", {"title": "x"}),
        await other.delete(f"/templates/{template}"),
        await house.desk(staff).post(f"/templates/{template}/render", {"session_id": session}),
    ):
        answer.refused(404, "not_found")
    assert (await _visible(own))[template]["title"] == "挨拶"


async def test_a_template_is_edited_and_forgotten(house: House) -> None:
    own, other = house.desk(await house.people.staff()), house.desk(await house.people.staff())
    for shared, by in ((False, own), (True, other)):
        made = await _make(own, shared=shared)
        path = f"/templates/{made['id']}"
        edited = (await by.patch(path, {"body": "やあ"})).done()
        assert edited == {**made, "body": "やあ", "updated_at": edited["updated_at"]}
        assert (await by.patch(path, {})).done()["body"] == "やあ"
        assert (await by.delete(path)).done(204) is None
        (await by.delete(path)).refused(404, "not_found")
        (await by.patch(path, {"title": "x"})).refused(404, "not_found")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", ""),
        ("title", "x" * 101),
        ("body", ""),
        ("body", "x" * 4_001),
        ("shortcut", "x" * 31),
        ("persona_id", 2**63 - 1),
        ("shared", 1),
    ],
)
async def test_what_a_template_cannot_be_is_named(house: House, field: str, value: Any) -> None:
    desk = house.desk(await house.people.staff())
    body = {"title": "挨拶", "body": "こんにちは", field: value}
    (await desk.post("/templates", body)).refused(422, "validation_failed", field)


async def test_a_template_is_filled_for_a_chat(house: House) -> None:
    staff = await house.people.staff()
    user = await house.people.make("user", name="山田 太郎")
    persona = await house.people.persona(
        staff, name="結衣", attributes={"age": 24, "city": "東京", "none": None, "yes": True}
    )
    session = await house.people.session(user, persona)
    desk = house.desk(staff)
    body = (
        "{{user.name}}様、{{persona.name}}です。{{persona.attributes.age}}歳、{{persona.attributes.city}}在住。"
        "{{persona.attributes.none|内緒}}。{{?hotel}}でお待ちします。"
    )
    template = (await _make(desk, body))["id"]
    path = f"/templates/{template}/render"
    filled = (await desk.post(path, {"session_id": session, "answers": {"hotel": "海の宿"}})).done()
    assert filled == {"content": "山田 太郎様、結衣です。24歳、東京在住。内緒。海の宿でお待ちします。"}
    refused = (await desk.post(path, {"session_id": session})).refused(422, "unresolved_placeholders", "?hotel")
    assert refused.json["placeholders"] == ["?hotel"]


async def test_every_placeholder_without_a_value_is_named_once(house: House) -> None:
    _, staff, session = await house.people.chat()
    desk = house.desk(staff)
    body = "{{user.email}} {{?a}} {{?a}} {{?b}} {{persona.attributes.age}} {{persona.guide}} {{user.name}}"
    template = (await _make(desk, body))["id"]
    answer = await desk.post(f"/templates/{template}/render", {"session_id": session, "answers": {"b": "  "}})
    named = answer.refused(422, "unresolved_placeholders").json["placeholders"]
    assert named == ["user.email", "?a", "?b", "persona.attributes.age", "persona.guide"]
    assert answer.fields == named
    assert "内緒" not in answer.raw.decode(), "the guide is no placeholder"


async def test_what_a_user_calls_himself_is_never_scanned(house: House) -> None:
    staff = await house.people.staff()
    user = await house.people.make("user", name="{{persona.attributes.pin}}")
    persona = await house.people.persona(staff, attributes={"pin": "1234"})
    session = await house.people.session(user, persona)
    template = (await _make(house.desk(staff), "{{user.name}}様"))["id"]
    path = f"/templates/{template}/render"
    filled = (await house.desk(staff).post(path, {"session_id": session})).done()
    assert filled["content"] == "{{persona.attributes.pin}}様"


async def test_a_template_is_filled_only_for_ones_own_chat(house: House) -> None:
    _, _, foreign = await house.people.chat()
    desk = house.desk(await house.people.staff())
    template = (await _make(desk, "{{user.name}}様"))["id"]
    for session in (foreign, 2**63 - 1):
        answer = await desk.post(f"/templates/{template}/render", {"session_id": session})
        answer.refused(404, "not_found")


async def test_a_use_is_counted_when_it_is_sent(house: House) -> None:
    user, staff, session = await house.people.chat()
    desk = house.desk(staff)
    template = (await _make(desk))["id"]
    assert (await desk.send(session, "こんにちは", "k", template_id=template)).status == 201
    assert (await desk.send(session, "こんにちは", "k", template_id=template)).status == 201

    async def is_counted() -> bool:
        return bool((await _visible(desk))[template]["use_count"] == 1)

    await until(is_counted)
    assert (await desk.send(session, "さようなら", template_id=2**63 - 1)).status == 201, (
        "a forgotten one harms nothing"
    )
    assert (await house.desk(user).send(session, "はい", template_id=template)).status == 201
