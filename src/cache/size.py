"""How much memory keys and values take: 2 L K E numbers per token."""

from typing import NamedTuple


def bytes_per_token(num_layers: int, num_kv_heads: int, head_width: int, bytes_per_number: int) -> int:
    """2 L K E bytes: a key and a value of E numbers in each of K heads of each of L layers."""
    return 2 * num_layers * num_kv_heads * head_width * bytes_per_number


class Example(NamedTuple):
    """A known model; `state` is the memory that does not grow with the text."""

    name: str
    per_token: int
    state: int = 0

    def at(self, tokens: int) -> int:
        """Bytes of one sequence of that many tokens."""
        return self.state + tokens * self.per_token


# In 16-bit numbers. Shapes: Radford et al. 2019 (GPT-2); Grattafiori et al. 2024, arXiv:2407.21783, table 3 (Llama 3).
EXAMPLES = (
    Example("GPT-2 small", bytes_per_token(12, 12, 64, 2)),
    Example("Llama-3 70B (GQA)", bytes_per_token(80, 8, 128, 2)),
    Example("Llama-3 70B, no GQA", bytes_per_token(80, 64, 128, 2)),
    # h and c of 256 units in each of two directions: the state of the BiLSTM is all it remembers.
    Example("BiLSTM, hidden 256", 0, state=2 * 2 * 256 * 2),
)
