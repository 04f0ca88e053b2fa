"""The line that installs a missing package."""

from __future__ import annotations

import re


def pip_install(requirement: str) -> str:
    """Return the command that installs a requirement, as every shell takes it.

    zsh reads brackets and every shell reads `>`, so both need quotes, and cmd.exe knows double quotes only.

    Args:
        requirement: Name of a package, with extras or a version: `packsort[hf]`, `trl>=1.10`.

    Example:
        >>> print(pip_install("gcsfs"), pip_install("packsort[hf]"), sep="; ")
        pip install gcsfs; pip install "packsort[hf]"
    """
    plain = re.fullmatch(r"[A-Za-z0-9_.-]+", requirement)
    return f"pip install {requirement}" if plain else f'pip install "{requirement}"'
