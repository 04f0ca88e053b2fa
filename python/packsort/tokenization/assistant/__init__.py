"""Find the assistant's turns in the text of a conversation, exactly or not at all.

- `turns`: choice of the method for a chat template, and the turns of each row.
- `training`: TRL's training template, where a stock template is recognised.
- `prefixes`: turns found by rendering a conversation message by message.
- `contents`: turns found by the places of the messages' contents.
- `gaps`: texts between contents, remembered so that most rows are rendered once.
"""
