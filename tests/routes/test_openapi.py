"""The OpenAPI document is valid and says what the house does."""

import re
from typing import Any

import pytest
import pytest_asyncio
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from server.errors import CODES
from server.routes import API
from server.routes.door import Route
from tests.people import OUTSIDE
from tests.routes import cases
from tests.routes.conftest import House

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def document(house: House) -> dict[str, Any]:
    """The document as anyone gets it."""
    found: dict[str, Any] = (await house.guest().get("/openapi.json")).done()
    return found


def _operation(document: dict[str, Any], route: Route) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"]["/api/v1" + route.path][route.method.lower()]
    return found


async def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document, cls=OpenAPIV31SpecValidator)
    assert document["openapi"].startswith("3.1")


async def test_it_names_every_call_and_no_other(document: dict[str, Any]) -> None:
    named = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert named == {(route.method, "/api/v1" + route.path) for route in API}
    ids = [_operation(document, route)["operationId"] for route in API]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("route", API, ids=cases.name)
async def test_each_call_says_who_what_and_how_it_may_be_refused(document: dict[str, Any], route: Route) -> None:
    operation = _operation(document, route)
    assert operation["summary"].endswith(".") or ":" in operation["summary"]
    assert ("requestBody" in operation) == (route.body is not None)
    assert str(route.status) in operation["responses"]
    assert bool(operation["security"]) == (route.roles is not None)
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert set(re.findall(r"{(\w+)}", route.path)) <= names
    assert set(cases.QUERIES.get(route.query, {}) if route.query else {}) <= names
    told = set(re.findall(r"`(\w+)`", " ".join(each["description"] for each in operation["responses"].values())))
    assert set(route.codes) <= told <= set(CODES)
    if route.roles is not None:
        assert "unauthenticated" in told


async def test_every_code_of_the_closed_list_is_told_somewhere(document: dict[str, Any]) -> None:
    told: set[str] = set()
    for route in API:
        for response in _operation(document, route)["responses"].values():
            told |= set(re.findall(r"`(\w+)`", response["description"]))
    assert told == set(CODES)


async def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for name in re.findall(r"'\$ref': '#/components/schemas/([^']+)'", str(document)):
        assert name in document["components"]["schemas"]


async def test_the_page_loads_nothing_from_outside(house: House) -> None:
    for language, title in (("en", "Please log in first."), ("ja", "ログインしてください。")):
        page = await house.guest().get("/docs", Accept_Language=language)
        html = page.raw.decode()
        assert page.status == 200 and page.headers["Content-Type"].startswith("text/html")
        assert title in html
        assert not re.findall(r"""(?:src|href)=["']?(?:https?:)?//|@import|<script""", html)
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert all(f"<code>{code}</code>" in html for code in CODES)
        assert all(route.path in html for route in API)


async def test_the_links_of_problems_lead_to_the_page(house: House) -> None:
    problem = (await house.guest().get("/auth/me")).refused(401, "unauthenticated")
    path, _, anchor = problem.json["type"].partition("#")
    async with house.http.get(house.here.url + path) as page:
        assert f"id={anchor}" in await page.text()
    assert "/healthz" in OUTSIDE
