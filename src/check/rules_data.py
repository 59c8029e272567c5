"""Rules between data, model and accumulation."""

from typing import Any

from src.check.facts import Facts, ask


def head_is_shorter_than_the_review(config: dict[str, Any], facts: Facts) -> str | None:
    """The kept words are the first `head` and the last `max_length - head`; no tail is head=null."""
    head, length = ask(config, "data.head"), ask(config, "data.max_length")
    if head is not None and length is not None and not 0 <= head < length:
        return (
            f"data.head ({head}) must be below data.max_length ({length}); data.head=null keeps the first words only."
        )
    return None


def one_vocabulary(config: dict[str, Any], facts: Facts) -> str | None:
    """More words than embeddings is an index error, fewer are weights that no word reads."""
    network, data = ask(config, "model.vocab_size"), ask(config, "data.vocab_size")
    if network is not None and data is not None and network != data:
        return f"model.vocab_size ({network}) must equal data.vocab_size ({data}); set the one in data alone."
    return None


def one_number_of_classes(config: dict[str, Any], facts: Facts) -> str | None:
    names = ask(config, "data.label_names")
    counts = {
        "model.num_classes": ask(config, "model.num_classes"),
        "task.num_classes": ask(config, "task.num_classes"),
        "data.label_names": len(names) if isinstance(names, list) else None,
    }
    known = {key: count for key, count in counts.items() if count is not None}
    if len(set(known.values())) > 1:
        return f"{' and '.join(f'{key} ({count})' for key, count in known.items())} must be the same number of classes."
    return None


def accumulation_is_one_thing(config: dict[str, Any], facts: Facts) -> str | None:
    accumulation = ask(config, "accumulation", {})
    for name, value in accumulation.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            return f"accumulation.{name} ({value}) must be a whole number >= 1."
    if len(accumulation) > 1:
        return f"{' and '.join(f'accumulation.{name}' for name in accumulation)} both set the size of a step; keep one."
    return None


def buckets_need_unequal_lengths(config: dict[str, Any], facts: Facts) -> str | None:
    buckets = ask(config, "data.bucket_batches")
    if buckets and ask(config, "data.pad_to_max_length"):
        return (
            f"data.bucket_batches ({buckets}) has no effect with data.pad_to_max_length=true, which makes "
            "all lengths equal; set data.bucket_batches=0 or data.pad_to_max_length=false."
        )
    return None


def plain_mean_needs_equal_lengths(config: dict[str, Any], facts: Facts) -> str | None:
    """The plain mean counts padding, so a review's logits would depend on the others in its batch."""
    if ask(config, "model.pooling") == "mean" and ask(config, "data.pad_to_max_length") is False:
        return (
            "model.pooling (mean) counts padding, so with data.pad_to_max_length=false a prediction depends on its "
            "batch; set data.pad_to_max_length=true or model.pooling=masked_mean."
        )
    return None
