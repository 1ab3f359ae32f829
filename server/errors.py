"""The closed list of refusals: code, HTTP status, whether trying again makes sense; and websocket close codes.

Anything the house refuses is a `Refusal` with a code of this list; the doors make a problem document of it (RFC 9457).
"""

from enum import IntEnum
from typing import Any, NamedTuple


class Code(NamedTuple):
    """What a code means. `retryable`: the same call may succeed later, unchanged."""

    status: int
    retryable: bool
    english: str
    japanese: str


CODES: dict[str, Code] = {
    "malformed_body": Code(400, False, "The body is not valid JSON.", "本文が正しいJSONではありません。"),
    "unauthenticated": Code(401, False, "Please log in first.", "ログインしてください。"),
    "login_expired": Code(
        401,
        False,
        "Your login has expired. Please log in again.",
        "ログインの有効期限が切れました。もう一度ログインしてください。",
    ),
    "bad_credentials": Code(
        401, False, "The email address or the password is wrong.", "メールアドレスまたはパスワードが正しくありません。"
    ),
    "insufficient_credits": Code(
        402,
        False,
        "You do not have enough credits for this message.",
        "このメッセージを送るにはクレジットが足りません。",
    ),
    "forbidden": Code(403, False, "Your role has no such call.", "この操作を行う権限がありません。"),
    "suspended": Code(403, False, "This account is suspended.", "このアカウントは停止されています。"),
    "wrong_entry": Code(
        403, False, "This account cannot be used at this entry.", "このアカウントはこの入口からは利用できません。"
    ),
    "origin_refused": Code(
        403,
        False,
        "The request comes from an origin that is not allowed.",
        "許可されていないオリジンからのリクエストです。",
    ),
    "not_found": Code(404, False, "There is no such thing here.", "見つかりませんでした。"),
    "email_taken": Code(
        409,
        False,
        "There is an account with this email address already.",
        "このメールアドレスはすでに登録されています。",
    ),
    "session_closed": Code(409, False, "This chat is closed.", "このチャットは終了しています。"),
    "persona_unavailable": Code(
        409,
        False,
        "This persona takes no messages at the moment.",
        "このペルソナは現在メッセージを受け付けていません。",
    ),
    "price_changed": Code(
        409,
        False,
        "The price of a message has changed. Nothing was charged.",
        "料金が変更されました。まだ課金されていません。",
    ),
    "newer_answer": Code(409, False, "Somebody has answered in the meantime.", "すでに別の返信が送信されています。"),
    "balance_too_low": Code(
        409, False, "The balance would fall below zero.", "残高がマイナスになるため処理できません。"
    ),
    "last_admin": Code(
        409,
        False,
        "This is the last active admin; make another one first.",
        "最後の管理者です。先に別の管理者を用意してください。",
    ),
    "body_too_large": Code(413, False, "The body is larger than 64 KiB.", "本文が64KiBを超えています。"),
    "validation_failed": Code(422, False, "Some of the input cannot be used.", "入力内容に誤りがあります。"),
    "idempotency_key_reused": Code(
        422, False, "This key was used for something else before.", "このキーは別の内容ですでに使用されています。"
    ),
    "unresolved_placeholders": Code(
        422, False, "Some placeholders of the template have no value.", "テンプレートに値のない項目があります。"
    ),
    "rate_limited": Code(
        429, True, "Too many requests. Please wait a moment.", "リクエストが多すぎます。少し待ってからお試しください。"
    ),
    "unavailable": Code(
        503,
        True,
        "The service is unavailable for a moment. Nothing was done.",
        "一時的に利用できません。処理は行われていません。",
    ),
    "outcome_unknown": Code(
        503,
        True,
        "We could not learn whether this was done. Trying again with the same key is safe.",
        "処理が完了したか確認できませんでした。同じキーで安全に再試行できます。",
    ),
    "draining": Code(
        503, True, "This replica is going away. Please try again.", "サーバーが切り替わります。もう一度お試しください。"
    ),
}


# How soon to try again after a 503: what is away is back within seconds, or another replica answers.
UNAVAILABLE_MS = 1_000


class Refusal(Exception):
    """The house says no.

    Args:
        code: one of `CODES`.
        detail: a complete sentence for this case, if there is more to say than the code's own.
        extra: what the reader needs next, as members of the problem document.
    """

    def __init__(self, code: str, detail: str | None = None, **extra: Any) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.extra = extra

    @property
    def status(self) -> int:
        """The HTTP status."""
        return CODES[self.code].status


class Invalid(Refusal):
    """Some fields cannot be used: `validation_failed` with each of them named."""

    def __init__(self, *errors: tuple[str, str]) -> None:
        named = [{"field": field, "message": message} for field, message in errors]
        super().__init__("validation_failed", " ".join(f"{f}: {m}" for f, m in errors), errors=named)


class KeyReused(Refusal):
    """An idempotency key came again with something else; like every 422, it names its field."""

    def __init__(self, field: str = "Idempotency-Key") -> None:
        why = {"field": field, "message": "was used for something else before."}
        super().__init__("idempotency_key_reused", errors=[why])


def problem(refusal: Refusal, request_id: str, language: str) -> dict[str, Any]:
    """Give the members of the problem document, its words in `language` (`ja` or anything else for English)."""
    code = CODES[refusal.code]
    pause = {"retry_after_ms": UNAVAILABLE_MS} if code.status == 503 else {}
    title = code.japanese if language == "ja" else code.english
    return {
        "type": f"/docs#{refusal.code}",
        "title": title,
        "status": code.status,
        "detail": refusal.detail or title,
        "code": refusal.code,
        "retryable": code.retryable,
        "request_id": request_id,
        **pause,
        **refusal.extra,
    }


class Close(IntEnum):
    """Websocket close codes: 4000-4099 mean come back, 4100-4199 stay away."""

    GOING_AWAY = 1001
    SLOW_READER = 4000
    DRAINING = 4001
    FLOOD = 4003
    LOGGED_OUT = 4100
    SUSPENDED = 4101
    BAD_FRAMES = 4102
    LOGIN_EXPIRED = 4103
