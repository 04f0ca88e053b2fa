"""Turn rows of text into tokens and labels.

- `tokenize`: `tokenize`, from a source to tables of tokens.
- `files`: `write_tokens`, from a source to token files.
- `batches`: tokens of one batch of rows, in steps; `threads`, `processes`: who does the steps; `tally`: their counts.
- `load`: tokens of a source, read or tokenized.
- `rows`: tokens of rows that come one after another.
- `kept`: tokens that are kept in a folder.
- `tokenizer`: loading of tokenizers; `choice`: a tokenizer that is loaded when it is first needed.
- `forms`: which columns hold a row, and its conversion from other formats to messages.
- `messages`, `directives`: messages of a conversation, checked; what rows say of their loss and to the template.
- `fit`: what a chat template takes, parts or text, objects or JSON text.
- `template`, `clock`: one chat template, and the date that it reads.
- `assistant`: the assistant's turns in a rendered conversation.
- `render`: from conversations, prompts and text to the text that is tokenized.
- `shown`: counts of what a chat template leaves out, and of turns whose end is not trained.
- `special_tokens`: tokens at the ends of plain text.
- `encode`: from text to token ids and labels.
- `spans`, `byte_offsets`: which tokens belong to a part of a text.
- `split_turns`: cutting of long conversations between turns.
- `loss`: rules that decide which tokens carry loss.
- `notes`: facts that a user should know.
- `info`: record of a tokenization, as manifests keep it.
"""
