"""Try every causal model class of the installed transformers, small, and write the table of docs/isolation.md.

    python tests/isolation_table.py             # all, some minutes
    python tests/isolation_table.py llama opt   # the rows of some model types

Each class is built with random weights and two layers (more where it has more kinds of layers), and gets a batch of six
sequences with each implementation of attention and each option of the batch.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import transformers
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

from packsort.hf._small_models import VOCABULARY, build_small_model
from packsort.torch import Isolation, PackedLoader, check_isolation
from packsort.torch._isolation.preserve import preserved
from packsort.torch._isolation.probe import probe
from packsort.torch._isolation.segments import number_segments

PAGE = Path(__file__).parents[1] / "docs" / "isolation.md"
ATTENTIONS = ("sdpa", "eager", "flex_attention")
# Options of the batch, beside the default of layout `flat`.
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "seq_idx=False": {"seq_idx": False},
    "layout='rows'": {"layout": "rows"},
    "block_mask=model.config": {"block_mask": None},  # for FlexAttention; the model's configuration takes its place
}
HEAD = ("model type", *ATTENTIONS, *list(OPTIONS)[1:], "what keeps sequences apart")
# Defaults of these classes have no layer of attention, or lack a number.
DEFAULTS: dict[str, dict[str, Any]] = {
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"] * 16, "num_hidden_layers": 32},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 16, "num_hidden_layers": 32},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 16, "num_hidden_layers": 32},
    "reformer": {"is_decoder": True},
    "xmod": {"default_language": "en_XX"},
}
# Encoders unless told otherwise: every token sees every other.
DECODERS = ("bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie", "megatron-bert")
DECODERS += ("rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "xlm-roberta", "xlm-roberta-xl")
DEFAULTS |= {name: {"is_decoder": True} for name in DECODERS}
REMEDIES = {
    "no_cache": "`use_cache = False`",
    "no_attention_mask": "no `attention_mask`",
    "seq_idx": "`seq_idx`",
    "document_mask": "`dense_masks`",
    "one_sequence_a_row": "a row each",
}


def batch(**options: Any) -> dict[str, Any]:
    """Make the batch that every model gets, once for each option."""
    numbers = np.random.default_rng(0)
    rows = [numbers.integers(3, VOCABULARY, n).tolist() for n in (13, 7, 21, 5, 9, 4)]
    loader = PackedLoader(pa.table({"input_ids": rows}), 64, seed=None, device=None, **options)
    return next(iter(loader))


def row(model_type: str) -> str:
    """Try one model type; return its row of the table."""
    try:
        config = CONFIG_MAPPING[model_type](**DEFAULTS.get(model_type, {}))
    except Exception as error:  # whatever a class raises is its reason
        return f"| {model_type} | {_reason('not built', error)} |" + " |" * (len(HEAD) - 2)
    text = config.get_text_config(decoder=True)
    # FlexAttention refuses dropout, which has nothing to do with sequences.
    vars(text).update({name: 0.0 for name, value in vars(text).items() if "drop" in name and isinstance(value, float)})
    text.use_cache = False
    found: dict[str, dict[str, Isolation | str]] = {attention: {} for attention in ATTENTIONS}
    for attention in ATTENTIONS:
        try:
            model = build_small_model(config, attention)
        except Exception as error:
            if "does not support" in str(error):
                continue
            return f"| {model_type} | {_reason('not built', error)} |" + " |" * (len(HEAD) - 2)
        kind = model.config._attn_implementation
        if kind != attention:
            continue  # it has one of its own
        for name, options in OPTIONS.items():
            if "block_mask" in options:
                if attention != "flex_attention":
                    continue
                options = {"block_mask": model.config}
            try:
                found[attention][name] = try_batch(model, batch(**options), advise=name == "default")
            except Exception as error:
                found[attention][name] = _reason("not run", error)
    reasons = {one for tried in found.values() for name, one in tried.items() if name in ("default", "layout='rows'")}
    if reasons and all(isinstance(one, str) for one in reasons):
        return f"| {model_type} | {', '.join(map(str, reasons))} |" + " |" * (len(HEAD) - 2)
    own = [_word(found[attention].get("default")) for attention in ATTENTIONS]
    others = [_together({kind: _word(one.get(name)) for kind, one in found.items()}) for name in list(OPTIONS)[1:]]
    return f"| {' | '.join([model_type, *own, *others, _way_out(found)])} |"


def try_batch(model: torch.nn.Module, batch: dict[str, Any], *, advise: bool) -> Isolation:
    """Check a model; what would help is the same for each option of the batch, so it is tried for one."""
    if advise:
        return check_isolation(model, batch)
    with preserved(model), torch.no_grad():
        return probe(model, batch, number_segments(batch), advise=False)


def table(types: list[str]) -> Iterator[str]:
    """Yield the rows of model types."""
    for model_type in types:
        # FlexAttention has the same masks uncompiled; compiling it takes longer than everything else.
        with warnings.catch_warnings(), torch.compiler.set_stance("force_eager"):
            warnings.simplefilter("ignore")
            yield row(model_type)


def write(rows: dict[str, str]) -> None:
    """Put rows into the page, in the order of their types."""
    text = PAGE.read_text()
    rows = rows_of(text) | rows
    ordered = [rows[name] for name in sorted(rows) if name in CLASSES]
    head = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    version = f"transformers {transformers.__version__}, torch {torch.__version__.partition('+')[0]}"
    text = re.sub(
        r"(<!-- table -->\n).*?(<!-- end -->)", lambda m: m[1] + "\n".join([*head, *ordered, m[2]]), text, flags=re.S
    )
    PAGE.write_text(re.sub(r"transformers [\d.]+, torch [\d.]+\d", version, text))


def rows_of(text: str) -> dict[str, str]:
    """Return the rows of the page, by model type."""
    lines = re.search(r"<!-- table -->\n(.*?)<!-- end -->", text, flags=re.S)[1].splitlines()[2:]  # type: ignore[index]
    return {line.split("|")[1].strip(): line for line in lines}


def _word(found: Isolation | str | None) -> str:
    if found is None:
        return "-"
    if isinstance(found, str):
        return found
    return found.cause or "equal"


def _together(words: dict[str, str]) -> str:
    """Write one word where all implementations of attention agree."""
    given = {kind: word for kind, word in words.items() if word != "-"}
    if len(set(given.values())) == 1:
        return next(iter(given.values()))
    return ", ".join(f"{kind} {word}" for kind, word in given.items()) or "-"


def _way_out(found: dict[str, dict[str, Isolation | str]]) -> str:
    results = [one for tried in found.values() for one in tried.values() if isinstance(one, Isolation) and not one]
    ways = dict.fromkeys(REMEDIES[one.remedy] for one in results if one.remedy is not None)
    needed = dict.fromkeys(
        f"`seq_idx` with `{name}`" for one in results for name in re.findall(r"without `([\w-]+)`", one.message)
    )
    reasons = dict.fromkeys(one.message[:80] for one in results if one.cause == "refused" and not needed)
    return ", ".join([*needed, *ways, *reasons]).replace("|", "/") or ("nothing" if results else "")


def _reason(what: str, error: Exception) -> str:
    text = " ".join(str(error).split()).replace("|", "/")
    text = re.sub(r"Class validation error for validator '\w+': ", "", text)
    return f"{what}: {type(error).__name__}, {text[:90]}".rstrip()


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    chosen = sys.argv[1:] or sorted(CLASSES)
    for name, line in zip(chosen, table(chosen), strict=True):
        print(line, flush=True)
        write({name: line})
