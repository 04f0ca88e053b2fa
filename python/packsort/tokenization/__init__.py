"""Turn rows of text into tokens and labels.

- `tokenize`: `tokenize`, from a source to tables of tokens.
- `files`: `write_tokens`, from a source to token files.
- `load`: tokens of a source, read or tokenized.
- `tokenizer`: loading of tokenizers.
- `render`: from conversations, prompts and text to the text that is tokenized.
- `encode`: from text to token ids and labels.
- `split_turns`: cutting of long conversations between turns.
- `loss`: rules that decide which tokens carry loss.
- `notes`: facts that a user should know.
- `info`: record of a tokenization, as manifests keep it.
"""
