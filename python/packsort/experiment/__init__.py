"""The experiment of arXiv 2410.08081 on one's own data: padding and packing, trained and compared.

`run` trains a model from the same initial weights by each method, and writes a report. `compare_methods` and
`load_study` list the runs, each with its `RunSettings`.

Modules, in the order of the data:

- `settings`: settings of one run; `studies`: files that list runs; `budget`: how much data fits into some minutes.
- `conversations`: tokens, a vocabulary, and which conversations are trained on or held out.
- `methods`: the batches of each method.
- `models`, `training`, `steps`, `checkpoints`, `memory`: one run, which can be stopped and goes on.
- `evaluation`: loss and calibration on held-out conversations.
- `records`: figures of finished runs; `groups`: runs that differ only in their seed; `tables`, `plots`, `report`.
- `experiment`: the call that does all this.
"""

try:
    import torch as _torch  # noqa: F401
    import transformers as _transformers  # noqa: F401
except ImportError as error:
    from packsort._install import pip_install as _pip_install

    _line = _pip_install("packsort[experiment]")
    raise ImportError(f"packsort.experiment needs torch and transformers ({error}): {_line}") from error

from packsort.experiment.experiment import Experiment, run
from packsort.experiment.settings import RunSettings
from packsort.experiment.studies import Study, compare_methods, load_study

__all__ = ["Experiment", "RunSettings", "Study", "compare_methods", "load_study", "run"]


def __dir__() -> list[str]:
    return __all__
