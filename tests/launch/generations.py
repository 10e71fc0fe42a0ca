"""Generation records and folders of them, in two shards."""

from launch.answers.records import prompt_id, shard_name
from tests import tiny

LABELS = ("sft", "w0.2", "w0.8")


def generation(index, label, place=0, **extra):
    """One record; its answer differs from label to label."""
    messages = [{"role": "user", "content": f"{tiny.SENTENCES[index % 8]} ({index})"}]
    words = tiny.SENTENCES[(index * 3 + place) % 8].split()[: 2 + (index + place) % 7]
    return {
        "prompt_id": prompt_id(messages), "sample": 0, "messages": messages, "prompt": messages[0]["content"],
        "response": " ".join(words), "response_tokens": 5, "prompt_tokens": 9, "prompt_truncated": False,
        "capped": False, "label": label,
    } | extra  # fmt: skip


def write_gens(folder, labels=LABELS, count=12, shards=2):
    """Folders of `count` answers a label; the fourth answer of the second label was cut off."""
    for place, label in enumerate(labels):
        records = [generation(index, label, place, capped=(index, place) == (3, 1)) for index in range(count)]
        (folder / label).mkdir(parents=True)
        size = -(-count // shards)
        for rank in range(shards):
            tiny.write_rows(folder / label / shard_name(rank, shards), records[rank * size : (rank + 1) * size])
    return [str(folder / label) for label in labels]
