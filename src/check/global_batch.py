"""How many processes read different rows, which the size of an optimizer step follows from."""

from typing import Any

from src.check.facts import Facts, ask


def count_devices(devices: Any) -> int:
    """Devices of one node: a number, or as many as are listed; a word like auto counts as one."""
    if isinstance(devices, int):
        return devices
    return 1 if isinstance(devices, str) else len(devices)


def readers(config: dict[str, Any]) -> int:
    """Data-parallel size: all processes, those that split matrices between them counted as one."""
    processes = count_devices(ask(config, "trainer.devices", 1)) * ask(config, "trainer.num_nodes", 1)
    return processes // ask(config, "trainer.strategy.tensor_parallel_size", 1)


def tokens_make_a_micro_batch(config: dict[str, Any], facts: Facts) -> str | None:
    """A step has at least one micro-batch of every process, however few tokens were asked for."""
    tokens = ask(config, "accumulation.tokens")
    size, length = ask(config, "data.batch_size"), ask(config, "data.max_length")
    if tokens is None or size is None or length is None:
        return None
    count = readers(config)
    if 2 * tokens >= size * length * count:
        return None
    return (
        f"accumulation.tokens ({tokens}) is far below the least step, {size * length * count} tokens: data.batch_size "
        f"({size}) x data.max_length ({length}) x {count} processes; lower data.batch_size or ask for more."
    )
