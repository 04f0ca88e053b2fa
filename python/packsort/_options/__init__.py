"""Options that several callables share, each declared and checked once; `packsort.options` is their public face.

- `choices`: types of the options that choose one of several names.
- `keywords`: `TypedDict`s of the keyword arguments that a callable takes, for editors and type checkers.
- `input`, `plan`, `layout`: frozen dataclasses of the same options with their defaults, checked. They are built before
  any data is opened, so a wrong option is reported at once.
- `attention_kinds`: windows and chunks of each layer of a model.
- `memory`: sizes in bytes, and the memory that a call may take.
"""
