"""What a call has a model read and write, in tokens, and what that costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from spare.errors import SpareError
from spare.tasks.types import Reply

PER = 1_000_000
"""Prices are for so many tokens."""

SMALLEST = 0.01
"""A smaller sum is not written out."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What a million tokens cost that a model reads, and that it writes, in any one currency."""

    read: float
    written: float


@dataclass(slots=True)
class Tokens:
    """Tokens of the replies that were asked for, as far as the engine tells them."""

    read: int = 0
    written: int = 0

    def count(self, reply: Reply) -> None:
        """Take one more reply into account."""
        self.read += reply.input_tokens
        self.written += reply.output_tokens

    def add(self, others: Tokens) -> None:
        """Take those of another task or process into account."""
        self.read += others.read
        self.written += others.written

    def take(self) -> Tokens:
        """Those that were counted since this was asked last."""
        taken = Tokens(self.read, self.written)
        self.read = self.written = 0
        return taken

    @property
    def told(self) -> bool:
        """Whether there are any."""
        return self.read > 0 or self.written > 0

    def cost(self, prices: Prices) -> float | None:
        """What they cost, in the currency of the prices. None if the engine tells only those that
        were read, or written, and the others cost something: half a bill is none."""
        if (prices.read and not self.read) or (prices.written and not self.written):
            return None
        return (self.read * prices.read + self.written * prices.written) / PER

    def line(self, prices: Prices | None = None) -> str:
        """How many there are, and what they cost at some prices, as a sentence."""
        found = f"Tokens of this call: {self.read:,} read, {self.written:,} written"
        if prices is None:
            return f"{found}."
        cost = self.cost(prices)
        if cost is None:
            which = "written" if self.read else "read"
            return f"{found}. Their cost is not known, since the server counts none {which}."
        shown = f"less than {SMALLEST}" if 0 < cost < SMALLEST else f"{cost:,.2f}"
        return f"{found}, which is {shown} at these prices."


def read_prices(text: str, model: str) -> Prices | None:
    """The prices in "READ,WRITTEN", for a million tokens each; None of "".

    Args:
        model: as it was named. Only those behind a server are paid for by the token.

    Raises:
        SpareError: they are not two such numbers, or it is another model.
    """
    if not text:
        return None
    if not model.removeprefix("shuffled:").startswith("openai:"):
        raise SpareError(
            f"--token-prices are for a model behind a server, named openai:NAME, and {model} is "
            "none; leave them out."
        )
    try:
        read, written = (float(one) for one in text.split(","))
    except ValueError:
        read = written = math.nan
    if not (0 <= read < math.inf and 0 <= written < math.inf):
        raise SpareError(
            "--token-prices takes two prices of a million tokens, of those that are read and those "
            f"that are written (2.5,10), and {text!r} is none."
        )
    return Prices(read, written)
