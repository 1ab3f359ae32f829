"""What the bell says after a commit: each event goes to the topics of who may hear it at that moment.

An event is encoded once for all who hear the same. What depends on the reader (the author's key, `waiting_since`) is
an encoding of its own.
"""

from collections.abc import Sequence

from msgspec import UNSET, UnsetType

from server.context import Context
from server.wire import frames, responses
from server.wire.codec import encode
from storage import repair, sessions
from storage.accounts import Balance
from storage.records import Entry, Message, SenderType, Session
from storage.sends import Send, Sent

# Sessions told in one go: some 300 KB of events, well below the megabyte of an outbox.
SLICE = 500


def topic(account_id: int) -> str:
    """Name the topic that an account's connections hear."""
    return f"account:{account_id}"


def message(context: Context, call: Send, sent: Sent) -> None:
    """Tell both sides of a new message, and its author the key and the balance."""
    sender: SenderType = "user" if call.by_user else "persona"
    sender_id = call.author_account_id if call.by_user else sent.persona_id
    body = responses.Message(sent.id, call.session_id, sender, sender_id, call.content, sent.cost or 0, sent.created_at)
    event = frames.MessageEvent(message=body, prev_id=sent.prev_id, revision=sent.revision)
    own = frames.MessageEvent(
        message=body, prev_id=sent.prev_id, revision=sent.revision, idempotency_key=call.idempotency_key
    )
    other_id = sent.staff_account_id if call.by_user else sent.user_account_id
    context.broker.publish([topic(other_id)], encode(event))
    context.broker.publish([topic(call.author_account_id)], encode(own))
    if call.by_user and sent.cost:
        balance(context, call.author_account_id, sent.balance or 0, sent.credit_entry_id or 0)


def balance(context: Context, account_id: int, credit_balance: int, credit_entry_id: int) -> None:
    """Tell an account its balance."""
    context.broker.publish([topic(account_id)], balance_event(credit_balance, credit_entry_id))


def balance_event(credit_balance: int, credit_entry_id: int) -> bytes:
    """Give the event that says a balance."""
    return encode(frames.BalanceEvent(credit_balance=credit_balance, credit_entry_id=credit_entry_id))


def entry(context: Context, booked: Entry) -> None:
    """Tell an account of an entry that is not a message's."""
    balance(context, booked.account_id, booked.balance_after, booked.id)


def read(context: Context, session: Session, by_user: bool, message_id: int, revision: int) -> None:
    """Tell both sides how far one of them has read.

    Args:
        revision: that of the reading itself. A later one would hide what happened in between, if its bell was lost.
    """
    event = frames.ReadEvent(
        session_id=session.id,
        sender_type="user" if by_user else "persona",
        message_id=message_id,
        revision=revision,
    )
    context.broker.publish([topic(session.user_account_id), topic(session.staff_account_id)], encode(event))


async def session(context: Context, record: Session) -> None:
    """Tell both sides the state of a session."""
    await _sessions(context, [record])


async def sessions_by_id(context: Context, session_ids: Sequence[int]) -> None:
    """Tell both sides the state of each of these sessions, as the book has it now.

    Of many, the staff hear the heads beyond the first slice: all in full would be more than an outbox holds.
    """
    for start in range(0, len(session_ids), SLICE):
        records = await sessions.states(context.book, session_ids[start : start + SLICE])
        await _sessions(context, records, only_heads=start > 0)


async def _sessions(context: Context, records: Sequence[Session], *, only_heads: bool = False) -> None:
    members = {str(id_) for record in records for id_ in (record.user_account_id, record.staff_account_id)}
    online = {int(member) for member in await context.presence.online(members)}
    heads: dict[int, list[sessions.Head]] = {}
    for record in records:
        for account_id, for_staff in ((record.user_account_id, False), (record.staff_account_id, True)):
            if for_staff and only_heads:
                head = sessions.Head(account_id, record.id, record.last_message_id, record.revision)
                heads.setdefault(account_id, []).append(head)
                continue
            body = responses.Session.of(record, online=online, for_staff=for_staff, for_reader=False)
            context.broker.publish([topic(account_id)], encode(frames.SessionEvent(session=body)))
    for account_id, states in heads.items():
        context.broker.publish([topic(account_id)], heads_event(states, None))


def gone(context: Context, account_id: int, session_ids: Sequence[int]) -> None:
    """Tell an account which sessions are no longer its own."""
    if session_ids:
        context.broker.publish([topic(account_id)], gone_event(session_ids))


def gone_event(session_ids: Sequence[int]) -> bytes:
    """Give the event that says which sessions are no longer one's own."""
    return encode(frames.Gone(session_ids=list(session_ids)))


def heads_event(states: Sequence[sessions.Head], newest: Balance | None) -> bytes:
    """Give the event that says how far an account's sessions are, and a user's balance."""
    return encode(
        frames.Heads(
            heads=head_states(states),
            credit_balance=newest.credit_balance if newest else UNSET,
            credit_entry_id=newest.credit_entry_id if newest else UNSET,
        )
    )


def head_states(states: Sequence[sessions.Head]) -> dict[int, frames.HeadState]:
    """Give the states of sessions by their ids."""
    return {head.session_id: frames.HeadState(head.message_id, head.revision) for head in states}


def past_message(message: Message, idempotency_key: str | UnsetType = UNSET) -> bytes:
    """Give the event of a message that was committed a while ago; its revision is for the heads to say."""
    body = responses.Message.of(message)
    event = frames.MessageEvent(message=body, prev_id=message.prev_id, revision=0, idempotency_key=idempotency_key)
    return encode(event)


def again(context: Context, found: repair.Fresh) -> None:
    """Tell the listeners of this replica of a message whose bell they may have missed."""
    for account_id in (found.user_account_id, found.staff_account_id):
        if context.broker.hub.hears(topic(account_id)):
            key = found.idempotency_key if account_id == found.author_account_id else UNSET
            context.broker.hub.deliver((topic(account_id),), past_message(found.message, key))
