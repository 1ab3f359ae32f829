"""Bytes to types and back. What cannot be used is refused with every field of it named."""

import base64
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from multidict import MultiMapping
from yarl import URL

from server.errors import Invalid, Refusal

T = TypeVar("T")

encode = msgspec.json.Encoder(order=None).encode
_decode_any = msgspec.json.Decoder(strict=True).decode

_AT = re.compile(r" - at `\$?\.?([^`]*)`$")
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
_KEY = re.compile(r"[\x20-\x7e]{1,255}")


class BodyCodec:
    """Decodes one kind of body, quickly when it is right and helpfully when it is not."""

    def __init__(self, kind: type[Struct]) -> None:
        self._fields = msgspec.structs.fields(kind)
        self._decode = msgspec.json.Decoder(kind).decode

    def __call__(self, raw: bytes) -> Any:
        """Give the body as its Struct.

        Raises:
            Refusal: `malformed_body`, or `validation_failed` that names each field.
        """
        try:
            body = self._decode(raw or b"{}")
        except msgspec.ValidationError as error:
            raise self._explain(raw, error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal("malformed_body", f"The body is not valid JSON: {error}.") from None
        if b"\\u" in raw:  # only an escape can bring NUL or half of a surrogate pair, and both would sink a flight
            _refuse_unusable(_decode_any(raw), "")
        return body

    def _explain(self, raw: bytes, first: msgspec.ValidationError) -> Refusal:
        """Look at field after field, for msgspec stops at the first."""
        values = _decode_any(raw or b"{}")
        if not isinstance(values, dict):
            return Invalid(("body", "must be a JSON object."))
        errors = _field_errors(self._fields, values, strict=True)
        known = {field.encode_name for field in self._fields}
        errors += [(str(name), "is not a field of this call.") for name in values if name not in known]
        return Invalid(*(errors or [_reason(first, "body")]))


class QueryCodec:
    """Decodes one kind of query parameters; unknown ones are ignored."""

    def __init__(self, kind: type[Struct]) -> None:
        self._kind = kind
        self._fields = msgspec.structs.fields(kind)

    def __call__(self, url: URL) -> Any:
        """Give the parameters as their Struct.

        Raises:
            Invalid: it names every parameter that is missing, malformed or given twice.
        """
        raw = url.raw_query_string
        pairs = raw.split("&") if raw else []
        # Nothing to unquote: splitting is a fifth of the work of parsing, and polls are many.
        plain = "%" not in raw and "+" not in raw and all("=" in pair for pair in pairs)
        given = dict(pair.split("=", 1) for pair in pairs) if plain else dict(url.query)
        if len(given) == len(pairs):
            try:
                query = msgspec.convert(given, self._kind, strict=False)
            except msgspec.ValidationError:
                pass
            else:
                if plain or not any(_UNUSABLE.search(text) for text in given.values()):
                    return query
        raise self._explain(url.query)

    def _explain(self, values: MultiMapping[str]) -> Refusal:
        given = dict(values)
        errors: list[tuple[str, str]] = []
        for name in given:
            if len(values.getall(name)) > 1:
                errors.append((name, "is given more than once."))
            elif _UNUSABLE.search(given[name]):
                errors.append((name.encode("ascii", "replace").decode(), "has a character that cannot be used."))
        named = dict(errors)
        errors += [error for error in _field_errors(self._fields, given, strict=False) if error[0] not in named]
        return Invalid(*errors)


def _field_errors(
    fields: Sequence[msgspec.structs.FieldInfo], values: dict[str, Any], *, strict: bool
) -> list[tuple[str, str]]:
    errors = []
    for field in fields:
        name = field.encode_name
        if name not in values:
            if field.required:
                errors.append((name, "is required."))
            continue
        try:
            msgspec.convert(values[name], field.type, strict=strict)
        except msgspec.ValidationError as error:
            errors.append(_reason(error, name))
    return errors


def _reason(error: msgspec.ValidationError, field: str) -> tuple[str, str]:
    """Make (`field.path`, sentence) of msgspec's message."""
    text = str(error)
    at = _AT.search(text)
    if at and at.group(1) and at.group(1) != field:
        field = f"{field}.{at.group(1)}" if not at.group(1).startswith("[") else field + at.group(1)
    return field, _AT.sub("", text).rstrip(".") + "."


def _refuse_unusable(value: object, path: str) -> None:
    if isinstance(value, str):
        if _UNUSABLE.search(value):
            raise Invalid((path or "body", "has a character that cannot be used (NUL, or half of a surrogate pair)."))
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_unusable(key, path)
            _refuse_unusable(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_unusable(item, f"{path}[{index}]")


def idempotency_key(text: str | None) -> str | None:
    """Check the header `Idempotency-Key`: 1 to 255 printable ASCII characters."""
    if text is not None and not _KEY.fullmatch(text):
        raise Invalid(("Idempotency-Key", "must be 1 to 255 printable ASCII characters."))
    return text


def write_cursor(*parts: object) -> str:
    """Make an opaque cursor of where a page ended."""
    return base64.urlsafe_b64encode(encode(parts)).decode().rstrip("=")


def cut(found: list[T], limit: int, place: Callable[[T], Sequence[object]]) -> tuple[list[T], str | None]:
    """Cut what was asked for with one more than `limit` into a page and the cursor of the next one.

    Args:
        place: gives the cursor's parts of the page's last item.
    """
    if len(found) <= limit:
        return found, None
    page = found[:limit]
    return page, write_cursor(*place(page[-1]))


def read_cursor(text: str | None, kind: Any) -> Any:
    """Give the parts of a cursor as `kind` (a tuple type), None where there is none.

    Raises:
        Invalid: it was not made by this collection.
    """
    if text is None:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise Invalid(("cursor", "is not a cursor of this collection.")) from None
