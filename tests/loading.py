"""Digests of batches, and training runs in their own processes, for tests of loaders."""

from __future__ import annotations

import multiprocessing
import sys
import time
from pathlib import Path

import torch
import xxhash

from packsort.torch import PackedLoader


def digest(batch):
    """Hash a batch: names, types, shapes and values."""
    found = xxhash.xxh3_64()
    for name, value in sorted(batch.items()):
        found.update(name.encode())
        if isinstance(value, torch.Tensor):
            found.update(f"{value.dtype}{tuple(value.shape)}".encode())
            found.update(value.contiguous().numpy().data)
        else:
            found.update(repr(value).encode())
    return found.intdigest()


def digests(loader):
    return [digest(batch) for batch in loader]


def fork(function, *args):
    """Start a process that runs the function. It is a fork: to import torch anew takes seconds."""
    process = multiprocessing.get_context("fork").Process(target=function, args=args)
    process.start()
    return process


def spawn(function, *args):
    """Start a process that runs the function and trains, which PyTorch refuses in a fork of one that has trained."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=args)
    process.start()
    return process


def main(source, log, checkpoint, options):
    """Log each batch and save the state after every third one, slowly enough to be killed."""
    loader = PackedLoader(source, **eval(options))
    if Path(checkpoint).exists():
        done, state = torch.load(checkpoint)
        loader.load_state_dict(state)
    else:
        done = 0
    with open(log, "a") as file:
        while loader.epoch < 2:
            for batch in loader:
                done += 1
                print(done, digest(batch), file=file, flush=True)
                if done % 3 == 0:
                    torch.save((done, loader.state_dict()), f"{checkpoint}.new")
                    Path(f"{checkpoint}.new").replace(checkpoint)
                time.sleep(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])
