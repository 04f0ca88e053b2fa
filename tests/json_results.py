"""What commands print with `--json`, checked against the schema in the docs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

SCHEMA = json.loads((Path(__file__).parent.parent / "docs/schema-1.json").read_text())


def valid(text: str, name: str) -> dict[str, Any]:
    """Return the object that a command printed, checked against a definition and the whole schema."""
    found: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator({**SCHEMA, "oneOf": [{"$ref": f"#/$defs/{name}"}]}).validate(found)
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    return found
