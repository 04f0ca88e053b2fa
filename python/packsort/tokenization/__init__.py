"""Turn rows of text into tokens and labels.

- `tokenize`: `tokenize` and `write_tokens`, from a source to token tables or files.
- `render`: from conversations, prompts and text to the text that is tokenized.
- `encode`: from text to token ids and labels.
- `split_turns`: long conversations cut between turns.
"""
