"""The demo: people, personas and a little history, planted once into a fresh embedded stack."""

import asyncio

from server.auth import HASHER
from storage import accounts, personas, sessions, templates
from storage.book import Book
from storage.records import Account, Role
from storage.sends import Send, Sent

PASSWORD = "concierge-demo"
CREDITS = 100
USERS = {"user1": "佐藤 美咲", "user2": "鈴木 健太", "user3": "高橋 葵", "user4": "田中 悠斗", "user5": "伊藤 さくら"}
STAFF = {"staff1": "山本 直子", "staff2": "中村 大輔"}

PERSONAS = [
    {
        "owner": "staff1",
        "name": "旅のコンシェルジュ 結衣",
        "bio": "国内外の旅行のご相談を承ります。宿、交通、季節の楽しみ方まで、ご一緒に考えます。",
        "attributes": {"specialty": "旅行", "city": "京都", "hours": "9:00-21:00"},
        "guide": "丁寧で温かい口調。まず日程と人数をうかがい、案は二つまでにする。",
        "message_cost": 1,
    },
    {
        "owner": "staff1",
        "name": "グルメ案内人 蓮",
        "bio": "お店選びからご予約のコツまで、その日の気分に合う一軒をご案内します。",
        "attributes": {"specialty": "食事", "city": "東京", "hours": "11:00-23:00"},
        "guide": "気さくだが礼儀正しく。苦手な食材とご予算を必ず確かめる。",
        "message_cost": 2,
    },
    {
        "owner": "staff2",
        "name": "ギフトの相談役 凛",
        "bio": "大切な方への贈りものを、ご予算とお人柄に合わせてお選びします。",
        "attributes": {"specialty": "贈りもの", "city": "横浜", "hours": "10:00-20:00"},
        "guide": "落ち着いた言葉づかい。贈る相手との関係と、過去に喜ばれた品をうかがう。",
        "message_cost": 3,
    },
]

# (user, place of the persona, what both sides said in turn; the user begins)
CHATS = [
    (
        "user1",
        0,
        [
            "こんにちは。来月、両親と京都へ二泊三日で行きたいのですが、おすすめの宿はありますか?",
            "ご相談ありがとうございます。ご両親とのご旅行、素敵ですね。足腰のご負担が少ないよう、駅から近い宿と、"
            "静かな東山の宿のどちらがお好みでしょうか。",
            "母は少し膝が悪いので、駅から近いほうが助かります。",
            "承知しました。京都駅から徒歩五分で、お部屋にお食事を運んでくれる宿をご紹介できます。ご予算はお一人様一泊"
            "いくらくらいをお考えですか?",
        ],
    ),
    (
        "user2",
        1,
        [
            "金曜の夜に四人で入れる、落ち着いた和食のお店を探しています。",
            "かしこまりました。個室のある神楽坂のお店はいかがでしょう。苦手な食材はございますか?",
            "一人がえびアレルギーです。予算は一人八千円くらいです。",
        ],
    ),
    ("user3", 2, ["祖母の米寿のお祝いに何を贈ればいいか迷っています。"]),
]

TEMPLATES = [
    (
        "はじめのご挨拶",
        "hello",
        "{{user.name|お客様}}さん、こんにちは。{{persona.name}}です。本日はどのようなご用件でしょうか?",
    ),
    ("確認してご連絡", "wait", "ありがとうございます。お調べしますので、少々お待ちくださいませ。"),
    ("ご予約の確認", "book", "{{?hotel}}を{{?date}}に承りました。ほかにご希望はございますか?"),
]


def email(name: str) -> str:
    """Give the address of a demo login."""
    return f"{name}@example.com"


async def plant(database_url: str) -> None:
    """Plant the demo into a migrated, empty database."""
    book = Book(database_url, pool_size=4, name="concierge demo")
    await book.open()
    try:
        await _plant(book)
    finally:
        await book.close()


async def is_planted(database_url: str) -> bool:
    """Say whether the demo's logins are there."""
    book = Book(database_url, pool_size=2, name="concierge demo")
    await book.open()
    try:
        return await accounts.credentials(book, email("admin")) is not None
    finally:
        await book.close()


async def _plant(book: Book) -> None:
    hashed = await asyncio.to_thread(HASHER.hash, PASSWORD)
    spent = {user: PERSONAS[place]["message_cost"] * ((len(said) + 1) // 2) for user, place, said in CHATS}  # type: ignore[operator]
    logins: dict[str, Account] = {}
    people: list[tuple[str, str, Role]] = [("admin", "管理者", "admin")]
    people += [(name, display, "staff") for name, display in STAFF.items()]
    people += [(name, display, "user") for name, display in USERS.items()]
    for name, display, role in people:
        # What the history cost comes on top, so that everybody starts with the same.
        credits = CREDITS + spent.get(name, 0) if role == "user" else 0
        logins[name] = await accounts.create(
            book, email(name), display, hashed, role, credits, "ご登録ありがとうございます。"
        )
    ids = []
    for persona in PERSONAS:
        fields = {
            "avatar_url": "",
            "is_active": True,
            **{key: value for key, value in persona.items() if key != "owner"},
        }
        made = await personas.create(book, logins[str(persona["owner"])].id, fields)
        assert made is not None
        ids.append(made.id)
    for title, shortcut, body in TEMPLATES:
        await templates.create(book, None, {"persona_id": None, "title": title, "shortcut": shortcut, "body": body})
    for user, place, said in CHATS:
        await _chat(book, logins[user], ids[place], logins[str(PERSONAS[place]["owner"])], said)


async def _chat(book: Book, user: Account, persona_id: int, staff: Account, said: list[str]) -> None:
    opened = await sessions.open_(book, user.id, persona_id)
    assert opened.session_id is not None
    for place, content in enumerate(said):
        by_user = place % 2 == 0
        author = user if by_user else staff
        key = f"demo-{opened.session_id}-{place}"
        sent = await book.sends.call(
            Send(author.id, opened.session_id, content, key, None, None, by_user, _tell_nobody)
        )
        if sent.outcome != "sent":
            raise RuntimeError(f"The demo's history could not be planted: {sent.outcome}.")


def _tell_nobody(call: Send, sent: Sent) -> None:
    """Nobody listens yet."""
