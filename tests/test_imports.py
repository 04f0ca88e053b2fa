"""Imports and their moment: each claim holds in a process that has imported nothing yet."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq

import packsort

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
    assert done.stdout == '[]\npacksort.torch needs PyTorch: pip install "packsort[torch]"\n'


INDEX = """
import sys
import packsort
print(len(list(packsort.open_shards(sys.argv[1]))), "pandas" in sys.modules)
"""


def test_an_index_of_parquet_is_read_without_pandas(tmp_path):
    pq.write_table(pa.table({"input_ids": [[1, 2, 3], [4, 5], [6]]}), tmp_path / "rows.parquet")
    packsort.write_shards(tmp_path / "rows.parquet", tmp_path / "index", 4, index_only=True)
    code = [sys.executable, "-c", INDEX, str(tmp_path / "index")]
    done = subprocess.run(code, capture_output=True, text=True, timeout=60)
    assert done.stdout == "2 False\n", done.stderr
