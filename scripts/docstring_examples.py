"""Extension of griffe for the site: `Example:` in a docstring is a section of examples, as `Examples:` is."""

from typing import Any

import griffe


class Examples(griffe.Extension):
    """Rename the header, which griffe would take for a note."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename it in the docstring of one object."""
        if obj.docstring is not None:
            lines = obj.docstring.value.splitlines()
            obj.docstring.value = "\n".join("Examples:" if line == "Example:" else line for line in lines)
