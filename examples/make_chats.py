"""Create conversations and a small tokenizer to try packsort with.

    python examples/make_chats.py demo

Writes `demo/chats.jsonl`, 3,000 invented conversations of one to eight turns, and `demo/tokenizer`, a byte-level BPE
tokenizer trained on them, whose chat template marks what the assistant says.
"""

import json
import random
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TEMPLATE = (
    "{% for message in messages %}{{ '<|start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
)
PLACES = ["Lisbon", "Nairobi", "Osaka", "Quito", "Tromso", "Wellington"]
THINGS = ["a quiet room", "a table for two", "the night train", "a map of the harbour", "two tickets", "a warm coat"]
ANSWERS = [
    "In {place} that is easy to find near the old market.",
    "I would ask for {thing} at the station, where somebody is awake at any hour.",
    "Take {thing} with you. {place} is colder than it looks, and the wind turns in the evening.",
    "That depends on the season. In spring {place} is full, and {thing} has to be booked weeks ahead.",
]


def conversation(rng: random.Random) -> list[dict[str, str]]:
    """Return a conversation of one to eight turns, most of them short."""
    messages = []
    for _ in range(min(8, 1 + int(rng.expovariate(0.7)))):
        place, thing = rng.choice(PLACES), rng.choice(THINGS)
        messages.append({"role": "user", "content": f"Where in {place} do I get {thing}?"})
        answer = " ".join(rng.choices(ANSWERS, k=1 + int(rng.expovariate(0.5))))
        messages.append({"role": "assistant", "content": answer.format(place=place, thing=thing)})
    return messages


def main(folder: Path) -> None:
    """Write the files."""
    rng = random.Random(0)
    chats = [conversation(rng) for _ in range(3000)]
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"messages": chat}) + "\n" for chat in chats)
    (folder / "chats.jsonl").write_text("".join(lines), "utf-8")

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=800,
        special_tokens=["<|start|>", "<|end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((message["content"] for chat in chats for message in chat), trainer)
    target = folder / "tokenizer"
    target.mkdir(exist_ok=True)
    tokenizer.save(str(target / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|end|>",
        "pad_token": "<|pad|>",
        "chat_template": TEMPLATE,
    }
    (target / "tokenizer_config.json").write_text(json.dumps(config, indent=1))
    print(f"wrote {folder}/chats.jsonl (3,000 conversations) and {folder}/tokenizer")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
