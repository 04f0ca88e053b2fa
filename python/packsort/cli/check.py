"""`packsort check`: check that the sequences of a pack do not see each other in a model."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from packsort.cli.options import add_json
from packsort.cli.output import say_text, tell
from packsort.cli.parser import REQUIRED, RUNNING, Subparsers, add_command, group
from packsort.cli.results import say_result
from packsort.cli.stopwatch import Stopwatch


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "check",
        usage="MODEL DIR",
        help="check that the sequences of a pack do not see each other in a model",
        description="Change tokens of some sequences of a batch and look at the logits of the others, which may not "
        "change; run sequences alone, which must give the same. Without --weights only the model's configuration is "
        "read: a model of two layers with random weights and the same kinds of layers stands for it. The model makes "
        "no key-value cache, as in `transformers.Trainer`.",
        examples=(
            "packsort check Qwen/Qwen3-0.6B packed",
            "packsort check ./model packed --weights\n--attention flash_attention_2",
        ),
    )
    required, running = group(parser, REQUIRED), group(parser, RUNNING)
    required.add_argument("model", metavar="MODEL", help="folder of a transformers model, or its name on the Hub")
    required.add_argument("packed", metavar="DIR", help="packed directory")
    running.add_argument("--weights", action="store_true", help="load the model itself instead of a small one")
    running.add_argument(
        "--attention",
        metavar="NAME",
        help="implementation of attention: sdpa, eager, flex_attention, packsort_varlen, flash_attention_2, ... "
        "(default: the model's)",
    )
    running.add_argument(
        "--layout", choices=("flat", "rows"), default="flat", help="layout of the batch (default: flat)"
    )
    running.add_argument("--no-seq-idx", action="store_true", help="leave `seq_idx` out of the batch")
    running.add_argument("--device", metavar="NAME", help="device to run on (default: the accelerator, or the CPU)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    import torch
    from transformers.utils import logging

    from packsort.hf._models import load_model
    from packsort.hf._small_models import known_tokens
    from packsort.torch import PackedLoader, check_isolation
    from packsort.torch._isolation.first_batch import first_batch

    logging.set_verbosity_error()
    loader = PackedLoader(
        args.packed, layout=args.layout, seq_idx=False if args.no_seq_idx else None, device=args.device or "auto"
    )
    watch = Stopwatch()
    with watch.stage("loading the model"):
        model = load_model(args.model, weights=args.weights, attention=args.attention)
    with watch.stage("running the model"):
        batch, _ = first_batch(loader)
        if not args.weights:
            batch["input_ids"] = known_tokens(batch["input_ids"])
        device: torch.device = batch["input_ids"].device
        found = check_isolation(model.to(device), batch)
    if args.json:
        facts = {**asdict(found), "weights": args.weights, "device": str(device)}
        say_result(args, facts, watch, status=0 if found else 1)
        return 0 if found else 1
    if found:
        say_text(*str(found).splitlines())
    else:
        tell(*f"error: {found}".splitlines())
    if not args.weights:
        small = f"two layers and random weights, built as `{args.model}` says, on {device}"
        say_text(f"tried with {small}: pass --weights to load it")
    return 0 if found else 1
