"""The public namespaces hold what their `__all__` names, documented, and nothing else."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import packsort

FACES = [
    "packsort",
    "packsort.errors",
    "packsort.experiment",
    "packsort.hf",
    "packsort.options",
    "packsort.schema",
    "packsort.torch",
    "packsort.torch.layouts",
]


def face(name: str) -> ModuleType:
    return importlib.import_module(name)


def all_modules() -> list[str]:
    found = pkgutil.walk_packages(packsort.__path__, "packsort.")
    return [module.name for module in found if not module.name.endswith("__main__")]


@pytest.mark.parametrize("name", FACES)
def test_dir_lists_the_public_names_and_nothing_else(name: str) -> None:
    module = face(name)
    listed = {one for one in dir(module) if not (one.startswith("__") and one != "__version__")}
    assert listed == set(module.__all__)


@pytest.mark.parametrize("name", FACES)
def test_names_without_an_underscore_are_public_or_rooms(name: str) -> None:
    module = face(name)
    rooms = {
        one
        for one, value in vars(module).items()
        if isinstance(value, ModuleType) and value.__name__.startswith("packsort.")
    }
    found = {one for one in vars(module) if not one.startswith("_")}
    assert found - rooms - {"annotations"} <= set(module.__all__)


@pytest.mark.parametrize("name", FACES)
def test_every_public_name_is_documented(name: str) -> None:
    module = face(name)
    assert list(module.__all__) == sorted(module.__all__, key=str) or name != "packsort"
    for one in module.__all__:
        value = getattr(module, one)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), one
            assert value.__module__.startswith("packsort"), one


def test_the_stub_names_what_the_package_imports_on_demand() -> None:
    stub = Path(packsort.__file__).with_suffix(".pyi").read_text()
    imports = [one for one in ast.parse(stub).body if isinstance(one, ast.ImportFrom)]
    declared = {name.name: one.module for one in imports for name in one.names}
    assert set(declared) == set(packsort.__all__)
    assert vars(packsort)["_LAZY"].items() <= declared.items()
    for name, module in declared.items():
        value = getattr(packsort, name)
        assert value is getattr(importlib.import_module(str(module)), name), name


@pytest.mark.parametrize("name", all_modules())
def test_every_module_says_what_it_is_for(name: str) -> None:
    module = importlib.import_module(name)
    if name != "packsort._core":
        assert (module.__doc__ or "").strip(), name


@pytest.mark.parametrize(
    "call",
    [
        lambda: packsort.plan([1], 8, stratgy="bfd"),  # type: ignore[call-arg]
        lambda: packsort.pack([1], 8, stratgy="bfd"),  # type: ignore[call-arg]
        lambda: packsort.write_shards([1], "nowhere", 8, stratgy="bfd"),  # type: ignore[call-arg]
    ],
    ids=["plan", "pack", "write_shards"],
)
def test_an_unknown_keyword_is_refused_before_anything_is_opened(call: object, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.id
    with pytest.raises(
        TypeError, match=rf"^{name}\(\) got an unexpected keyword argument 'stratgy'; did you mean 'strategy'\?$"
    ):
        call()  # type: ignore[operator]
