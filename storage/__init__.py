"""PostgreSQL, the book: every SQL sentence of the house, each beside the function that asks it.

book = Book("postgresql://…")
await book.open()
page = await messages.since(book, book.polls, messages.Position(account_id=7, session_id=3, last_message_id=41))
await book.close()
"""
