"""Install the wheel of a folder into an environment of its own, and test it: `PYTHON wheels/test.py DIST`.

The environment has what a wheel brings with it, HiGHS and the test tools, but no trainer: between versions of Python,
it is the compiled module that may break. Batches of tensors need torch, so `make test` alone runs them.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Plans under every option, shards written, proven and damaged, lengths of Parquet, and the commands: a minute or two.
# They need neither torch nor transformers.
TESTS = (
    "test_constraints",
    "test_counts",
    "test_saved_plans",
    "test_hostile_plans",
    "test_hostile_arguments",
    "test_schedule",
    "test_list_lengths",
    "test_checksums",
    "test_compare",
    "test_megatron_documents",
    "test_cli_options",
    "test_install_lines",
)
INSTALLED = """
import sys, sysconfig, importlib.metadata
import packsort, packsort._core as core
locked = getattr(sys, "_is_gil_enabled", lambda: True)()
assert locked == (not sysconfig.get_config_var("Py_GIL_DISABLED")), "importing packsort turned the lock on"
assert packsort.plan([3, 5, 2], 7).num_packs == 2
bills = [str(path) for path in importlib.metadata.files("packsort") if "/sboms/" in path.as_posix()]
assert bills and "site-packages" in packsort.__file__, (bills, packsort.__file__)
print(sys.version.split()[0], "with" if locked else "without", "the lock:", core.__spec__.origin)
"""


def main() -> None:
    """Make the environment, install, and run the tests."""
    dist = Path(sys.argv[1]).resolve()
    threads = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    place = ROOT / "target" / "wheel-test" / f"{sys.version_info.major}.{sys.version_info.minor}{threads}"
    run(sys.executable, "-m", "venv", "--clear", str(place))
    python = str(place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
    install = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    # First from the folder alone, so that no other packsort can take its place.
    run(*install, "--no-index", "--no-deps", "--find-links", str(dist), "packsort")
    run(*install, "packsort[optimal]", "pytest", "hypothesis")
    run(python, "-P", "-c", INSTALLED)
    tests = [str(Path("tests", f"{name}.py")) for name in TESTS]
    run(python, "-P", "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *tests)


def run(*command: str) -> None:
    """Run a command in the root of the repository, and stop where it fails."""
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
