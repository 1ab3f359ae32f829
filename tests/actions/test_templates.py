"""Strict rendering, rule by rule."""

import pytest

from server.actions.templates import Unresolved, fill

VALUES = {"user.name": "太郎", "persona.name": "結衣", "persona.attributes.age": "24"}


@pytest.mark.parametrize(
    ("body", "filled"),
    [
        ("こんにちは", "こんにちは"),
        ("{{user.name}}様", "太郎様"),
        ("{{ user.name }}様", "太郎様"),
        ("{{user.name}}{{persona.name}}", "太郎結衣"),
        ("{{user.name|お客様}}", "太郎"),
        ("{{user.nickname|お客様}}", "お客様"),
        ("{{ user.nickname | お客様 }}", "お客様"),
        ("{{user.nickname|a|b}}", "a|b"),
        ("{{persona.attributes.age}}歳", "24歳"),
        ("{{?hotel}}", "海の宿"),
        ("{{? hotel }}", "海の宿"),
        ("{{?blank|未定}}", "未定"),
        ("{{?unasked|未定}}", "未定"),
        ("{user.name}", "{user.name}"),
        ("{ {user.name} }", "{ {user.name} }"),
        ("{{{user.name}}}", "{太郎}"),
        ("{{{user.name}}{", "{太郎{"),
        ("a } b { c", "a } b { c"),
        ("{{?braces}}", "{{user.name}}"),
        ("{{?braces}} {{user.name}}", "{{user.name}} 太郎"),
        ("{{?half}}{user.name} }", "{{user.name} }"),
    ],
)
def test_what_has_a_value_is_filled_in_one_pass(body: str, filled: str) -> None:
    answers = {"hotel": " 海の宿 ", "blank": "  ", "braces": "{{user.name}}", "half": "{"}
    assert fill(body, VALUES, answers) == filled


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("{{user.nickname}}", ["user.nickname"]),
        ("{{user.nickname|}}", ["user.nickname"]),
        ("{{user.nickname| }}", ["user.nickname"]),
        ("{{user.name}} {{x}} {{y}} {{x}}", ["x", "y"]),
        ("{{?hotel}}", ["?hotel"]),
        ("{{? hotel }} {{?hotel}}", ["?hotel"]),
        ("{{?}}", ["?"]),
        ("{{}}", ["{{}}"]),
        ("{{ }}", ["{{}}"]),
        ("{{|}}", ["{{}}"]),
        ("{{User.Name}}", ["User.Name"]),
        ("{{persona.attributes}}", ["persona.attributes"]),
        ("{{persona.guide}}", ["persona.guide"]),
        ("{{user.name", ["{{"]),
        ("user.name}}", ["}}"]),
        ("{{ {{user.name}} }}", ["{{", "}}"]),
        ("{{a{b}}", ["{{", "}}"]),
    ],
)
def test_what_has_no_value_is_named_and_never_sent_as_a_gap(body: str, named: list[str]) -> None:
    with pytest.raises(Unresolved) as raised:
        fill(body, VALUES, {})
    assert raised.value.names == named


def test_an_empty_value_is_no_value() -> None:
    with pytest.raises(Unresolved) as raised:
        fill("{{user.name}} {{persona.name|結衣}}", {"user.name": "  ", "persona.name": ""}, {})
    assert raised.value.names == ["user.name"]
