"""Every call of the table: who may, and what becomes of input that nobody can use."""

import json
import re
import zlib
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from server.routes import API
from server.routes.door import Route
from server.wire.codec import write_cursor
from storage.records import Role
from tests.people import Answer, Client
from tests.routes import cases
from tests.routes.cases import BEYOND, NOBODY
from tests.routes.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")

each_call = pytest.mark.parametrize("route", API, ids=cases.name)
each_call_with_a_body = pytest.mark.parametrize("route", cases.WITH_BODY, ids=cases.name)
each_call_with_a_query = pytest.mark.parametrize("route", cases.WITH_QUERY, ids=cases.name)

ROLES: tuple[Role, ...] = ("user", "staff", "admin")


@pytest.fixture
def client(house: House) -> Client:
    """A client of nobody yet."""
    return house.guest()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def logins(house: House) -> dict[Role, str]:
    """A token for each role."""
    return {role: (await house.people.make(role)).token for role in ROLES}


@pytest.fixture
def caller(client: Client, logins: dict[Role, str], route: Route) -> Client:
    """A client that may make the call."""
    if route.roles is not None:
        client.token = logins[cases.role(route)]
    return client


@pytest.mark.parametrize("kind", [*cases.BODIES, *cases.QUERIES], ids=lambda kind: kind.__name__)
async def test_the_examples_have_every_field(kind: type[msgspec.Struct]) -> None:
    example: Any = cases.BODIES.get(kind) or cases.QUERIES[kind]
    assert {field.encode_name for field in msgspec.structs.fields(kind)} - {"cursor"} == set(example)
    msgspec.convert(example, kind, strict=kind in cases.BODIES, str_keys=True)


@pytest.mark.parametrize("route", cases.WITH_LOGIN, ids=cases.name)
async def test_nobody_may_call_without_a_login(client: Client, route: Route) -> None:
    for header in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}, {"Cookie": "x=y"}):
        answer = await client.call(route.method, cases.path(route), cases.body(route), headers=header)
        answer.refused(401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("route", cases.WITH_LOGIN, ids=cases.name)
async def test_a_role_that_has_no_such_call_is_forbidden(
    client: Client, house: House, logins: dict[Role, str], route: Route
) -> None:
    assert route.roles is not None
    for role in ROLES:
        client.token = (await house.people.make(role)).token if route.path == "/auth/logout" else logins[role]
        answer = await client.call(route.method, cases.path(route, NOBODY), cases.body(route))
        if role in route.roles:
            assert answer.status not in (401, 403), answer.raw
        else:
            answer.refused(403, "forbidden")


@pytest.mark.parametrize("route", cases.WITH_ID, ids=cases.name)
async def test_an_id_that_nothing_has_is_not_found(caller: Client, route: Route) -> None:
    for id_ in (NOBODY, BEYOND, 0, -1, 10**19, 10**400, "abc", "1.5", "%00", "%ff", "٣", "1%2F2"):
        answer = await caller.call(route.method, cases.path(route, id_), cases.body(route))
        answer.refused(404, "not_found")


async def test_what_is_not_in_the_table_is_not_found(client: Client) -> None:
    for method, path in (("GET", "/nothing"), ("PUT", "/messages"), ("DELETE", "/sessions"), ("GET", "/messages/%ff")):
        (await client.call(method, path)).refused(404, "not_found")


BROKEN = {
    "nothing that is JSON": b"hello",
    "an end too early": b'{"a": ',
    "a wrong value and then an end too early": b'{"%s": [], "z": ',
    "a wrong value and then invalid UTF-8": b'{"%s": [], "z": "\xff"}',
    "a wrong value and then a nest without end": b'{"%s": [], "z": ' + b"[" * 20_000,
    "a number that nothing holds and then an end too early": b'{"%s": 1e999, "z": ',
    "two documents": b"{} {}",
    "invalid UTF-8": b'{"a": "\xff\xfe"}',
    "invalid UTF-8 in a name": b'{"\xff": 1}',
    "a surrogate as UTF-8": b'{"a": "\xed\xa0\x80"}',
    "a raw NUL": b'{"a": "x\x00y"}',
    "NaN": b'{"a": NaN}',
    "a nest without end": b'{"a": ' + b"[" * 20_000,
    "UTF-16": '{"a": 1}'.encode("utf-16"),
}


@each_call_with_a_body
@pytest.mark.parametrize("trouble", list(BROKEN))
async def test_a_body_that_is_no_json_is_malformed(caller: Client, route: Route, trouble: str) -> None:
    first = next(iter(cases.body(route) or {})).encode()
    answer = await caller.call(route.method, cases.path(route), raw=BROKEN[trouble].replace(b"%s", first))
    answer.refused(400, "malformed_body")


SQUEEZED = zlib.compress(b'{"a": "' + b"x" * (1 << 23) + b'"}')
"""8 MiB in 8 KiB."""


@each_call_with_a_body
async def test_a_huge_body_is_too_large(caller: Client, route: Route) -> None:
    huge = b'{"a": "' + b"x" * 65_536 + b'"}'
    (await caller.call(route.method, cases.path(route), raw=huge)).refused(413, "body_too_large")
    bomb = {"Content-Encoding": "deflate"}
    (await caller.call(route.method, cases.path(route), raw=SQUEEZED, headers=bomb)).refused(413, "body_too_large")
    broken = await caller.call(route.method, cases.path(route), raw=b"nothing that was squeezed", headers=bomb)
    broken.refused(400, "malformed_body")
    just_fits = json.dumps({"a": "x" * (65_536 - 9)}).encode()
    assert len(just_fits) == 65_536
    (await caller.call(route.method, cases.path(route), raw=just_fits)).refused(422, "validation_failed")


@each_call_with_a_body
async def test_a_body_that_is_no_object_is_named(caller: Client, route: Route) -> None:
    for raw in (b"[]", b"1", b'"text"', b"null", b"[" + b'{"a": 1}' + b"]"):
        (await caller.call(route.method, cases.path(route), raw=raw)).refused(422, "validation_failed", "body")


async def _refused(caller: Client, route: Route, given: dict[str, Any], *fields: str) -> Answer:
    answer = await caller.call(route.method, cases.path(route), given)
    named = {re.split(r"[.\[]", field)[0] for field in answer.refused(422, "validation_failed").fields}
    assert named == set(fields), (given, answer.json["errors"])
    return answer


def _required(route: Route) -> list[str]:
    assert route.body is not None
    return [field.encode_name for field in msgspec.structs.fields(route.body) if field.required]


@each_call_with_a_body
async def test_each_missing_field_is_named(caller: Client, route: Route) -> None:
    required = _required(route)
    for field in required:
        given = {name: value for name, value in (cases.body(route) or {}).items() if name != field}
        await _refused(caller, route, given, field)
    if required:
        await _refused(caller, route, {}, *required)


@each_call_with_a_body
async def test_each_unknown_field_is_named(caller: Client, route: Route) -> None:
    right = cases.body(route) or {}
    await _refused(caller, route, {**right, "surprise": 1}, "surprise")
    await _refused(caller, route, {**right, "surprise": 1, "": None}, "surprise", "")


@each_call_with_a_body
async def test_each_field_of_a_wrong_type_is_named(caller: Client, route: Route) -> None:
    right = cases.body(route) or {}
    for field in right:
        for wrong in ([], [[{}]], {"a": {"b": []}}, 10**30, float(10**30)):
            await _refused(caller, route, {**right, field: wrong}, field)
    await _refused(caller, route, {field: [1] for field in right}, *right)


@each_call_with_a_body
async def test_each_text_that_the_book_cannot_hold_is_named(caller: Client, route: Route) -> None:
    right = cases.body(route) or {}
    for field, value in right.items():
        if isinstance(value, str):
            for wrong in (f"/{value}\0", "\0", f"/{value}\udc00", f"/{value}\ud800"):
                await _refused(caller, route, {**right, field: wrong}, field)


@each_call_with_a_body
async def test_each_number_out_of_bounds_is_named(caller: Client, route: Route) -> None:
    right = cases.body(route) or {}
    for field, value in right.items():
        if type(value) is int:
            negatives = (-1,) if field != "amount" else ()
            for wrong in (BEYOND, -BEYOND - 1, 10**400, 1.5, "1", True, *negatives):
                await _refused(caller, route, {**right, field: wrong}, field)


@each_call_with_a_query
async def test_each_malformed_parameter_is_named(caller: Client, route: Route) -> None:
    assert route.query is not None
    right = cases.QUERIES[route.query]
    for field in right:
        wrongs = [b"%00", b"a%00b"]
        if field not in ("q", "subject_type", "action"):
            wrongs += [b"", b"zzz", b"-1", b"1.5", b"9" * 40, b"9" * 5_000, b"%FF", b"%F0%9F%98%80", b"[]"]
        for wrong in wrongs:
            others = cases.path(route, query={name: value for name, value in right.items() if name != field})
            where = others + ("&" if "?" in others else "?") + f"{field}={wrong.decode()}"
            if field == "since" and wrong in (b"1.5", b"-1"):
                continue  # seconds since 1970
            (await caller.get(where)).refused(422, "validation_failed", field)


@each_call_with_a_query
async def test_each_missing_parameter_is_named(caller: Client, route: Route) -> None:
    assert route.query is not None
    required = [field.encode_name for field in msgspec.structs.fields(route.query) if field.required]
    if required:
        (await caller.get(route.path)).refused(422, "validation_failed", *required)
    right = cases.QUERIES[route.query]
    for field in required:
        where = cases.path(route, query={name: value for name, value in right.items() if name != field})
        (await caller.get(where)).refused(422, "validation_failed", field)


@each_call_with_a_query
async def test_a_parameter_given_twice_is_named(caller: Client, route: Route) -> None:
    assert route.query is not None
    field, value = next(iter(cases.QUERIES[route.query].items()))
    twice = await caller.get(f"{cases.path(route)}&{field}={value}")
    twice.refused(422, "validation_failed", field)


@each_call_with_a_query
async def test_a_stray_ampersand_harms_nothing(caller: Client, route: Route) -> None:
    neat = await caller.get(cases.path(route))
    stray = await caller.get(cases.path(route).replace("?", "?&") + "&&unknown=1&")
    assert (neat.status, neat.status < 500) == (stray.status, True), (neat.raw, stray.raw)


@pytest.mark.parametrize("route", cases.WITH_CURSOR, ids=cases.name)
async def test_a_cursor_that_no_page_gave_is_named(caller: Client, route: Route) -> None:
    forged = (
        write_cursor(BEYOND), write_cursor(-BEYOND - 1), write_cursor(10**30), write_cursor("x"), write_cursor(None),
        write_cursor(), write_cursor(1, 2, 3, 4), write_cursor(False, "2026-01-01T00:00:00", 1),
        write_cursor(False, "2026-01-01T00:00:00Z", BEYOND), write_cursor(False, "0001-01-01T00:00:00+14:00", 1),
        write_cursor(False, "soon", 1), "", "é", "!!!", "W10", "bnVsbA", "A" * 3_000, "_" * 7,
    )  # fmt: skip
    for cursor in forged:
        (await caller.get(cases.path(route, query={"cursor": cursor}))).refused(422, "validation_failed", "cursor")


@pytest.mark.parametrize("route", cases.WITH_CURSOR, ids=cases.name)
async def test_a_limit_out_of_bounds_is_named(caller: Client, route: Route) -> None:
    for limit in ("0", "-1", "201", "1000000", "many", ""):
        (await caller.get(cases.path(route, query={"limit": limit}))).refused(422, "validation_failed", "limit")


@each_call
async def test_headers_that_are_nonsense_harm_nothing(caller: Client, route: Route) -> None:
    strange = {"Prefer": "wait=", "Accept-Language": "\udcff,;", "Cookie": "concierge_login=\udcff; =;;", "Accept": "x"}
    answer = await caller.call(route.method, cases.path(route, NOBODY), cases.body(route), headers=strange)
    assert answer.status < 500, answer.raw
