"""Bytes to types and back. What cannot be used is refused with every field of it named."""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, get_args

import msgspec
from msgspec import Struct, inspect
from multidict import MultiMapping
from yarl import URL

from server.errors import Invalid, Refusal
from server.wire.requests import IN_WORDS, KEY

T = TypeVar("T")

encode = msgspec.json.Encoder(order=None).encode
_decode_any = msgspec.json.Decoder(strict=True).decode

# What decoding raises when bytes are not JSON at all. msgspec looks at types as it reads, so it may find a wrong type
# before the place where the JSON ends too early: `ValidationError` does not mean that the rest is well-formed.
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_AT = re.compile(r" - at `\$?\.?([^`]*)`$")
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
_KEY = re.compile(KEY)


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
            raise self.explain(_anything(raw or b"{}"), error) from None
        except _NOT_JSON as error:
            raise _malformed(raw, error) from None
        if b"\\u" in raw:  # only an escape can bring NUL or half of a surrogate pair, and both would sink a flight
            _refuse_unusable(_decode_any(raw), "")
        return body

    def explain(self, values: object, first: msgspec.ValidationError, besides: Sequence[str] = ()) -> Refusal:
        """Look at field after field, for msgspec stops at the first; `besides` are known to the caller."""
        if not isinstance(values, dict):
            return Invalid(("body", "must be a JSON object."))
        errors = _field_errors(self._fields, values, strict=True)
        known = {*besides, *(field.encode_name for field in self._fields)}
        errors += [(str(name), "is not a field of this call.") for name in values if name not in known]
        return Invalid(*(errors or [_reason(first, "")]))


class CommandCodec:
    """Decodes websocket commands, told apart by their `type`."""

    def __init__(self, union: Any) -> None:
        self._kinds = {kind.__struct_config__.tag: BodyCodec(kind) for kind in get_args(union)}
        self._decode = msgspec.json.Decoder(union).decode

    def __call__(self, text: str) -> Any:
        """Give the command as its Struct.

        Raises:
            Refusal: `malformed_body`, or `validation_failed` that names each field.
        """
        raw = text.encode()
        try:
            command = self._decode(raw)
        except msgspec.ValidationError as error:
            raise self._explain(raw, error) from None
        except _NOT_JSON as error:
            raise _malformed(raw, error) from None
        if b"\\u" in raw:
            _refuse_unusable(_decode_any(raw), "")
        return command

    def _explain(self, raw: bytes, first: msgspec.ValidationError) -> Refusal:
        values = _anything(raw)
        if not isinstance(values, dict):
            return Invalid(("frame", "must be a JSON object."))
        codec = self._kinds.get(values.get("type")) if isinstance(values.get("type"), str) else None
        if codec is None:
            return Invalid(("type", f"must be one of {', '.join(self._kinds)}."))
        return codec.explain(values, first, besides=("type",))


def ref_of(text: str) -> int | str | None:
    """Give the `ref` of a command that cannot be used, if it can be seen."""
    try:
        ref = _decode_any(text)["ref"]
    except (msgspec.MsgspecError, RecursionError, TypeError, KeyError, UnicodeEncodeError):
        return None
    return ref if isinstance(ref, int | str) and not isinstance(ref, bool) else None


def _anything(raw: bytes) -> object:
    """Decode without a type; what is no JSON at all is `malformed_body`."""
    try:
        return _decode_any(raw)
    except msgspec.ValidationError:
        pass  # a number that nothing holds, which is JSON all the same
    except _NOT_JSON as error:
        raise _malformed(raw, error) from None
    try:
        return json.loads(raw, parse_int=float)
    except (ValueError, RecursionError) as error:
        raise _malformed(raw, error) from None


def _malformed(raw: bytes, error: Exception) -> Refusal:
    """Say why bytes are no JSON; half of a surrogate pair, which msgspec does not even read, is named by its field."""
    if b"\\u" in raw:
        try:
            _refuse_unusable(json.loads(raw), "")
        except Invalid as named:
            return named
        except (ValueError, RecursionError):
            pass
    return Refusal("malformed_body", f"That is not valid JSON: {error}.")


class QueryCodec:
    """Decodes one kind of query parameters; unknown ones are ignored."""

    def __init__(self, kind: type[Struct]) -> None:
        self._kind = kind
        self._fields = msgspec.structs.fields(kind)
        # msgspec takes `1e2` for 100 where a whole number is a text.
        self._whole = [field.encode_name for field in self._fields if _is_whole(field.type)]

    def __call__(self, url: URL) -> Any:
        """Give the parameters as their Struct.

        Raises:
            Invalid: it names every parameter that is missing, malformed or given twice.
        """
        raw = url.raw_query_string
        pairs = [pair for pair in raw.split("&") if pair] if raw else []
        # Nothing to unquote: splitting is a fifth of the work of parsing, and polls are many.
        plain = "%" not in raw and "+" not in raw and all("=" in pair for pair in pairs)
        given = dict(pair.split("=", 1) for pair in pairs) if plain else dict(url.query)
        if len(given) == len(pairs):
            try:
                query = msgspec.convert(given, self._kind, strict=False)
            except msgspec.ValidationError:
                pass
            else:
                is_usable = plain or not any(_UNUSABLE.search(text) for text in given.values())
                if is_usable and not self._misspelt(given):
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
        named = dict(errors)
        errors += [(name, "must be decimal digits.") for name in self._misspelt(given) if name not in named]
        return Invalid(*errors)

    def _misspelt(self, given: Mapping[str, str]) -> list[str]:
        return [name for name in self._whole if name in given and not given[name].isdecimal()]


def _is_whole(kind: Any) -> bool:
    """Say whether a field is a whole number, or none."""
    found = inspect.type_info(kind)
    if isinstance(found, inspect.Metadata):  # it has a description
        found = found.type
    parts = found.types if isinstance(found, inspect.UnionType) else (found,)
    return any(isinstance(part, inspect.IntType) for part in parts)


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
            msgspec.convert(values[name], field.type, strict=strict, str_keys=True)
        except msgspec.ValidationError as error:
            errors.append(_reason(error, name))
    return errors


def _reason(error: msgspec.ValidationError, field: str) -> tuple[str, str]:
    """Make (`field.path`, sentence) of msgspec's message."""
    text = str(error)
    at = _AT.search(text)
    if at and at.group(1) and at.group(1) != field:
        field = field + at.group(1) if at.group(1).startswith("[") or not field else f"{field}.{at.group(1)}"
    return field or "body", in_words(error)


def in_words(error: msgspec.ValidationError) -> str:
    """Give msgspec's message as a sentence, without the place, and without a regular expression."""
    text = _AT.sub("", str(error)).rstrip(".") + "."
    return next((words for pattern, words in IN_WORDS.items() if repr(pattern) in text), text)


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
    """Check the header `Idempotency-Key`."""
    if text is not None and not _KEY.match(text):
        raise Invalid(("Idempotency-Key", IN_WORDS[KEY]))
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
        parts = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=kind)
    except (ValueError, msgspec.MsgspecError):
        parts = None
    if parts is None or not all(_is_storable(part) for part in parts):
        raise Invalid(("cursor", "is not a cursor of this collection."))
    return parts


def _is_storable(part: object) -> bool:
    """Say whether PostgreSQL could hold a part of a cursor: cursors come back from clients, who may forge them."""
    if isinstance(part, int):
        return -(2**63) <= part < 2**63
    return not isinstance(part, datetime) or (part.tzinfo is not None and 1 < part.year < 9999)
