"""Print the loss of each source of a packed directory under a causal model.

    packsort pack chats.parquet -o packed --tokenizer TOKENIZER --max-length 1024 --keep source
    python examples/loss_by_source.py packed MODEL

MODEL is a folder or Hub name that `AutoModelForCausalLM` takes. Without it, a tiny model with random weights stands in.
"""

import argparse
from itertools import islice

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from packsort.torch import PackedLoader, loss_by


def tiny_model(vocabulary: int) -> LlamaForCausalLM:
    """Return a model with random weights."""
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **shape))


def main() -> None:
    """Run the model over the packs, and print a line for each source."""
    parser = argparse.ArgumentParser(description="Print the loss of each source.")
    parser.add_argument("packed", help="packed directory that keeps the column")
    parser.add_argument("model", nargs="?", help="model; a tiny one by default")
    parser.add_argument("--column", default="source", help="column to tell the sequences by")
    parser.add_argument("--batches", type=int, help="batches to run; all by default")
    args = parser.parse_args()

    loader = PackedLoader(args.packed, keep=args.column)
    if args.model is None:
        vocabulary = 1 + max(int(pack["input_ids"].max()) for pack in loader.shards or ())
        model = tiny_model(vocabulary)
    else:
        model = AutoModelForCausalLM.from_pretrained(args.model)
    model.eval()
    by_source = loss_by(args.column, loader.dictionaries)
    for batch in islice(loader, args.batches):
        kept = {name: batch.pop(name) for name in loader.kept}  # models take no such arguments
        with torch.no_grad():
            logits = model(**batch, use_cache=False).logits
        by_source.update(logits, batch["labels"], kept)
    for source, (loss, tokens) in by_source.compute().items():
        print(f"{source:<24} {tokens:>10,} tokens   loss {loss:.4f}")


if __name__ == "__main__":
    main()
