"""The core and Python agree on markers of segments and labels."""

from packsort import _core, schema


def test_the_core_has_the_same_markers():
    assert (_core.PADDING, _core.SEPARATOR) == (schema.PADDING, schema.SEPARATOR)
    assert _core.NO_LOSS == schema.NO_LOSS
