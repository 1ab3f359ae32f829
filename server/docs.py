"""The page that shows the OpenAPI document: one file, no outside host, no script; in Japanese and in English."""

import re
from collections.abc import Iterator
from html import escape
from typing import Any

from server.errors import CODES, Close

STYLE = """
:root { color-scheme: light dark; --ink: #1d2530; --soft: #5c6878; --line: #dde3ea; --paper: #fff; --tint: #f4f7fa;
  --get: #1668a8; --post: #1d7a46; --patch: #9a6200; --put: #6b3fa0; --delete: #b3261e }
@media (prefers-color-scheme: dark) { :root { --ink: #e7ecf2; --soft: #9fb0c3; --line: #2c3744; --paper: #12181f;
  --tint: #1a222c; --get: #6cb6f0; --post: #6fcf97; --patch: #f0b860; --put: #c4a1f2; --delete: #ff8a80 } }
* { box-sizing: border-box }
body { margin: 0; font: 16px/1.6 system-ui, "Hiragino Sans", "Noto Sans JP", "Noto Sans CJK JP", sans-serif;
  color: var(--ink); background: var(--paper) }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 6rem }
h1 { font-size: 2rem; margin: 0 } h2 { margin: 3rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--line) }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 1rem 0 } a { color: var(--get) }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; background: var(--tint) }
summary { padding: .6rem .9rem; cursor: pointer } details > div { padding: 0 .9rem .9rem }
code, .path { font-family: ui-monospace, "SFMono-Regular", Menlo, monospace; font-size: .9em }
.method { display: inline-block; min-width: 4.5em; font-weight: 700 } .soft { color: var(--soft) }
.get { color: var(--get) } .post { color: var(--post) } .patch { color: var(--patch) } .put { color: var(--put) }
.delete { color: var(--delete) }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 } th, td { text-align: left; vertical-align: top;
  padding: .35rem .6rem .35rem 0; border-bottom: 1px solid var(--line) } th { color: var(--soft); font-weight: 600 }
tr:target { background: color-mix(in srgb, var(--get) 15%, transparent) }
.scroll { overflow-x: auto }
"""

# English, Japanese
WORDS = {
    "intro": (
        "Users pay credits, message by message, to talk with personas that staff answer as. JSON in and out; times are "
        "RFC 3339 in UTC; ids are integers. What you may not see does not exist for you.",
        "ユーザーはメッセージごとにクレジットを支払い、スタッフが応対するペルソナと会話します。"
        "入出力はJSON、時刻はRFC 3339のUTC、IDは整数です。閲覧できないものは「存在しない」ものとして扱われます。",
    ),
    "auth": (
        "Authentication: the header `Authorization: Bearer TOKEN`, or the cookie that a login sets for browsers.",
        "認証は `Authorization: Bearer TOKEN` ヘッダー、またはログイン時にブラウザーへ設定されるCookieで行います。",
    ),
    "document": ("The document itself", "OpenAPI文書"),
    "other": ("日本語", "English"),
    "parameters": ("Parameters", "パラメーター"),
    "body": ("Body", "本文"),
    "answer": ("Answer", "応答"),
    "refusals": ("Refusals", "エラー"),
    "required": ("required", "必須"),
    "for": ("for", "対象"),
    "anyone": ("anyone", "誰でも"),
    "codes": ("Codes", "エラーコード"),
    "code": ("Code", "コード"),
    "meaning": ("Meaning", "意味"),
    "retry": ("Try again?", "再試行"),
    "yes": ("yes", "可"),
    "no": ("no", "不可"),
    "shapes": ("Shapes", "データ型"),
    "field": ("Field", "項目"),
    "type": ("Type", "型"),
    "frames": ("Websocket", "WebSocket"),
    "socket": (
        "`GET /api/v1/ws`, JSON text frames. A connection hears every event of the chats that its account takes part "
        "in. Commands carry a `ref` that the reply echoes.",
        "`GET /api/v1/ws` でJSONテキストフレームを送受信します。"
        "接続は、そのアカウントが参加するチャットのすべてのイベントを受け取ります。"
        "コマンドの `ref` は応答にそのまま返されます。",
    ),
    "commands": ("Commands, from client to server", "コマンド(クライアントからサーバーへ)"),
    "events": ("Events, from server to client", "イベント(サーバーからクライアントへ)"),
    "closes": (
        "Close codes: 4000-4099 mean come back, 4100-4199 stay away.",
        "クローズコード: 4000〜4099は再接続してください。4100〜4199は再接続しないでください。",
    ),
}


class _Page:
    """Writes the page in one language."""

    def __init__(self, document: dict[str, Any], language: str) -> None:
        self.document = document
        self.schemas: dict[str, Any] = document["components"]["schemas"]
        self.place = 1 if language == "ja" else 0
        self.language = language

    def word(self, name: str) -> str:
        return _prose(WORDS[name][self.place])

    def write(self) -> Iterator[str]:
        groups: dict[str, list[tuple[str, str, Any]]] = {}
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                groups.setdefault(operation["tags"][0], []).append((method, path, operation))
        yield f"<!doctype html><html lang={self.language}><meta charset=utf-8>"
        yield "<meta name=viewport content='width=device-width, initial-scale=1'><title>Concierge API</title>"
        yield f"<style>{STYLE}</style><main><h1>Concierge API</h1><p>{self.word('intro')}</p><p>{self.word('auth')}</p>"
        other = "en" if self.language == "ja" else "ja"
        yield f"<nav><a href='?lang={other}' lang={other}>{self.word('other')}</a>"
        yield f"<a href=openapi.json>{self.word('document')}</a>"
        yield from (f"<a href='#{escape(name)}'>/{escape(name)}</a>" for name in groups)
        yield from (f"<a href='#{name}'>{self.word(name)}</a>" for name in ("frames", "codes", "shapes"))
        yield "</nav>"
        for name, calls in groups.items():
            yield f"<section id={escape(name)}><h2>/{escape(name)}</h2>"
            for method, path, operation in calls:
                yield from self.call(method, path, operation)
            yield "</section>"
        yield from self.frames()
        yield from self.codes()
        yield from self.shapes()
        yield "</main>"

    def call(self, method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
        roles = ", ".join(operation.get("x-roles", [])) or self.word("anyone")
        yield f"<details id={escape(operation['operationId'])}><summary><span class='method {method}'>"
        yield f"{method.upper()}</span><span class=path>{escape(path)}</span> — {_prose(operation['summary'])} "
        yield f"<span class=soft>({self.word('for')}: {roles})</span></summary><div>"
        if operation["parameters"]:
            yield f"<h4>{self.word('parameters')}</h4><table>"
            for one in operation["parameters"]:
                must = f" <span class=soft>{self.word('required')}</span>" if one.get("required") else ""
                says = _prose(one.get("description", ""))
                yield f"<tr><td><code>{escape(one['name'])}</code>{must}<td>{self.kind(one['schema'])}<td>{says}"
            yield "</table>"
        if "requestBody" in operation:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            yield f"<h4>{self.word('body')}</h4>{self.kind(schema)}"
        for status, response in operation["responses"].items():
            schema = response.get("content", {}).get("application/json", {}).get("schema")
            if int(status) < 300:
                yield f"<h4>{self.word('answer')} {status}</h4>{self.kind(schema) if schema else '—'}"
        refused = {status: r for status, r in operation["responses"].items() if int(status) >= 300}
        yield f"<h4>{self.word('refusals')}</h4><p>"
        yield " · ".join(f"{status} {_codes(response['description'])}" for status, response in refused.items())
        yield "</div></details>"

    def kind(self, schema: dict[str, Any]) -> str:
        """Say what type a schema is, linking to the shapes."""
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[-1]
            return f"<a href='#shape-{escape(name)}'>{escape(_plain(name))}</a>"
        if "anyOf" in schema:
            return " | ".join(dict.fromkeys(self.kind(one) for one in schema["anyOf"]))
        if "enum" in schema:
            return " | ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
        kind = str(schema.get("type", "any"))
        if kind == "array":
            return f"[{self.kind(schema.get('items', {}))}]"
        if kind == "object" and "additionalProperties" in schema:
            inner = schema["additionalProperties"]
            return "{…: " + (self.kind(inner) if isinstance(inner, dict) else "any") + "}"
        return escape(str(schema.get("format", kind)) + _bounds(schema))

    def fields(self, schema: dict[str, Any]) -> Iterator[str]:
        yield f"<div class=scroll><table><tr><th>{self.word('field')}<th>{self.word('type')}<th>{self.word('meaning')}"
        for name, kind in schema.get("properties", {}).items():
            must = f" <span class=soft>{self.word('required')}</span>" if name in schema.get("required", ()) else ""
            says = _prose(kind.get("description", ""))
            yield f"<tr><td><code>{escape(name)}</code>{must}<td>{self.kind(kind)}<td>{says}"
        yield "</table></div>"

    def frames(self) -> Iterator[str]:
        yield f"<section id=frames><h2>{self.word('frames')}</h2><p>{self.word('socket')}</p>"
        for word in ("commands", "events"):
            yield f"<h3>{self.word(word)}</h3>"
            for name in self.document["x-frames"][word]:
                schema = self.schemas[name]
                tag = schema["properties"]["type"]["enum"][0]
                says = _prose(schema.get("description", ""))
                yield f"<details id='shape-{name}'><summary><code>{escape(tag)}</code> — {says}</summary><div>"
                yield from self.fields(schema)
                yield "</div></details>"
        yield f"<h3>{self.word('closes')}</h3><table>"
        for close in Close:
            yield f"<tr><td><code>{int(close)}</code><td>{close.name.lower().replace('_', ' ')}"
        yield "</table></section>"

    def codes(self) -> Iterator[str]:
        yield f"<section id=codes><h2>{self.word('codes')}</h2><div class=scroll><table><tr><th>HTTP"
        yield f"<th>{self.word('code')}<th>{self.word('meaning')}<th>{self.word('retry')}"
        for name, code in CODES.items():
            says = code.japanese if self.place else code.english
            again = self.word("yes" if code.retryable else "no")
            yield f"<tr id={name}><td>{code.status}<td><code>{name}</code><td>{escape(says)}<td>{again}"
        yield "</table></div></section>"

    def shapes(self) -> Iterator[str]:
        yield f"<section id=shapes><h2>{self.word('shapes')}</h2>"
        frames = {*self.document["x-frames"]["commands"], *self.document["x-frames"]["events"]}
        for name, schema in sorted(self.schemas.items()):
            if name not in frames:
                says = _prose(schema.get("description", ""))
                yield f"<details id='shape-{escape(name)}'><summary><b>{escape(_plain(name))}</b> — {says}</summary>"
                yield "<div>"
                yield from self.fields(schema)
                yield "</div></details>"
        yield "</section>"


def _bounds(schema: dict[str, Any]) -> str:
    low = schema.get("minimum", schema.get("minLength"))
    high = schema.get("maximum", schema.get("maxLength", schema.get("maxItems")))
    if low is None and high is None:
        return ""
    return f" ({'' if low is None else f'{low:,}'}…{'' if high is None else f'{high:,}'})"


def _plain(name: str) -> str:
    """`Items_Session_` is written Items[Session]."""
    return re.sub(r"^(\w+?)_(\w+)_$", r"\1[\2]", name)


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _codes(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<a href='#\1'><code>\1</code></a>", escape(text, quote=False))


def page(document: dict[str, Any], language: str) -> str:
    """Give the page in `ja` or `en`."""
    return "".join(_Page(document, language).write())
