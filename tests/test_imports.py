"""Imports and their moment: each claim holds in a process that has imported nothing yet."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import packsort, packsort.cli, packsort.sources.source, packsort.tokenization.tokenize
frameworks = {"torch", "transformers", "tokenizers", "datasets", "jinja2", "ray", "pandas"}
print(sorted(frameworks & set(sys.modules)))

sys.modules["torch"] = None
try:
    import packsort.torch
except ImportError as error:
    print(error)
"""


def test_nothing_imports_a_framework_unasked_and_without_torch_the_error_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\npacksort.torch needs PyTorch: pip install 'packsort[torch]'\n"
