"""Forms of rows: which columns hold a conversation, a prompt with its completion, or text.

- `form`: one form, and the kind of row that it gives.
- `find`: the form of a source, by its columns.
- `messages`: conversations in the words of other formats, as messages with `role` and `content`.
- `instructions`: pairs of columns that are one exchange, such as Alpaca's, as messages.
"""
