"""Running a batch: plainly, or branching from key-value caches that rows share.

A row is a prompt that is to be written on, or a prompt with one of its options to be ranked. Rows
of a group see the same pictures and begin with the same tokens, up to the last picture and often
beyond. That prefix is computed once per group, and its keys and values are copied to the rows:

    prefixes   . . P P P                one line per group, padded left
               P P P P P

    rows       . . P P P   . s s s      the prefix's line again, then what is the row's own, padded
               . . P P P   . . s s      left in the gap between them; a dot is masked out, and
               P P P P P   s s s s      positions count only what is not

Both passes go through `generate`, which knows how each family numbers positions and goes on from a
cache. So a reply is the same either way, up to the order in which floats are added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from spare.harness.models.constraint import Constraint
from spare.harness.models.prompts import Prompt
from spare.tasks.types import Likelihood, Reply

if TYPE_CHECKING:
    import torch

NOT_A_NUMBER = "The model computed something that is not a number (NaN) for this question."


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A prompt to be written on; or, if it ranks, a prompt with the option called `label`."""

    prompt: Prompt
    label: str = ""

    @property
    def option(self) -> torch.Tensor | None:
        """Tokens of the option, shape (tokens,); None if the row is to be written on."""
        return self.prompt.options[self.label] if self.prompt.request.rank else None

    @property
    def tokens(self) -> int:
        """Most tokens of this row that the model may have to hold."""
        option = self.option
        reply = self.prompt.request.max_new_tokens if option is None else option.shape[0]
        return self.prompt.tokens + reply

    @property
    def ids(self) -> torch.Tensor:
        """Tokens that the model is given, shape (tokens,)."""
        import torch

        prompt, option = self.prompt.aligned["input_ids"][0], self.option
        return prompt if option is None else torch.cat([prompt, option])


@dataclass(frozen=True, slots=True)
class Branching:
    """Rows that are computed from one prefix, the first `prefix` tokens of each of them."""

    rows: Sequence[Row]
    prefix: int


class Decoder:
    """A network of transformers, and how it ends a reply.

    Args:
        network: in evaluation mode, without generation settings of its own.
        tokenizer: turns its tokens into text.
        ends: tokens that end a reply.
        pad: the token that fills up.
    """

    def __init__(self, network: Any, tokenizer: Any, ends: Sequence[int], pad: int) -> None:
        import inspect

        self.network, self.tokenizer, self.ends, self.pad = network, tokenizer, list(ends), pad
        # Qwen-VL and its relatives remember, one line per row, how far positions lag behind tokens
        # (a picture takes fewer of the former). This has to branch together with the cache.
        self._lags = [module for module in network.modules() if hasattr(module, "rope_deltas")]
        self._constraint: Constraint | None = None
        self._keeps = "logits_to_keep" in inspect.signature(network.forward).parameters

    def run(self, rows: Sequence[Row], share: bool) -> list[Reply | Likelihood]:
        """One outcome per row, in order: what was written, or the option's likelihood, or an error.

        Args:
            rows: all to be written on with the same bound, or all to be ranked; their pictures can
                be stacked; those of a group in succession.
            share: let rows of a group branch from their common prefix.
        """
        import torch

        with torch.inference_mode():
            inputs = self._inputs(rows, share)
            return (
                self._rank(rows, inputs)
                if rows[0].option is not None
                else self._write(rows, inputs)
            )

    def foretell(self, rows: Sequence[Row], share: bool) -> torch.Tensor:
        """Log-probabilities of the first token after each prompt, shape (rows, vocabulary).

        The rows' options, if they have any, must be of one length.
        """
        import torch

        option = rows[0].option
        count = 1 if option is None else 1 + len(option)
        with torch.inference_mode():
            logits = self._last_logits(self._inputs(rows, share), count)
            return torch.log_softmax(logits[:, -count].float(), dim=-1)

    def _inputs(self, rows: Sequence[Row], share: bool) -> dict[str, Any]:
        """What `generate` is given, one line per row."""
        branchings = _branchings(rows) if share else []
        if any(len(branching.rows) > 1 for branching in branchings):
            return self._branch(branchings)
        return {**self._stack([_line(row) for row in rows]), **self._pictures(rows)}

    def _branch(self, branchings: Sequence[Branching]) -> dict[str, Any]:
        """Compute the prefixes; inputs that go on from them, one line per row."""
        import torch

        firsts = [branching.rows[0] for branching in branchings]
        prefixes = self._stack(
            [
                {name: value[0, : branching.prefix] for name, value in row.prompt.aligned.items()}
                for row, branching in zip(firsts, branchings, strict=True)
            ]
        )
        cache = self._generate(
            prefixes | self._pictures(firsts), 1, return_dict_in_generate=True
        ).past_key_values
        # On the processor, since the layers may lie on several accelerators.
        index = torch.tensor(
            [number for number, branching in enumerate(branchings) for _ in branching.rows]
        )
        cache.batch_select_indices(index)
        for module in self._lags:
            module.rope_deltas = module.rope_deltas[index]
        own = self._stack(
            [
                {"input_ids": row.ids[branching.prefix :]}
                for branching in branchings
                for row in branching.rows
            ]
        )
        mask = torch.cat([prefixes["attention_mask"][index], own["attention_mask"]], dim=1)
        return {"input_ids": own["input_ids"], "attention_mask": mask, "past_key_values": cache}

    def _stack(self, lines: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        """Lines of tokens and what goes with them, each (tokens,), padded left to one length."""
        import torch

        longest = max(line["input_ids"].shape[0] for line in lines)
        stacked = {}
        for name in {"attention_mask": None, **lines[0]}:
            rows = []
            for line in lines:
                missing = longest - line["input_ids"].shape[0]
                value = line.get(name, torch.ones_like(line["input_ids"]))
                fill = self.pad if name == "input_ids" else 0
                rows.append(torch.nn.functional.pad(value, (missing, 0), value=fill))
            stacked[name] = torch.stack(rows).to(self.network.device)
        return stacked

    def _pictures(self, rows: Iterable[Row]) -> dict[str, torch.Tensor]:
        """The rows' pictures one after another, as the picture encoder takes them."""
        import torch

        found: dict[str, list[torch.Tensor]] = {}
        for row in rows:
            for name, value in row.prompt.pictures.items():
                found.setdefault(name, []).append(value)
        stacked = {
            name: torch.cat(values).to(self.network.device) for name, values in found.items()
        }
        return {
            name: value.to(self.network.dtype) if value.is_floating_point() else value
            for name, value in stacked.items()
        }

    def _write(self, rows: Sequence[Row], inputs: dict[str, Any]) -> list[Reply | Likelihood]:
        watch, request = _Watch(), rows[0].prompt.request
        steps = [watch, self._shape(request.schema)] if request.schema else [watch]
        written = self._generate(inputs, request.max_new_tokens, logits_processor=steps)
        written = written[:, inputs["input_ids"].shape[1] :].tolist()
        replies: list[Reply | Likelihood] = []
        for row, ids, broken in zip(rows, written, watch.broken.tolist(), strict=True):
            if broken:
                replies.append(Reply(error=NOT_A_NUMBER))
                continue
            end = next((place for place, token in enumerate(ids) if token in self.ends), None)
            text = self.tokenizer.decode(ids[:end], skip_special_tokens=True)
            replies.append(
                Reply(
                    text,
                    finish="length" if end is None else "stop",
                    input_tokens=row.prompt.tokens,
                    output_tokens=len(ids) if end is None else end + 1,
                )
            )
        return replies

    def _shape(self, schema: str) -> Any:
        if self._constraint is None:
            vocabulary = self.network.get_output_embeddings().weight.shape[0]
            self._constraint = Constraint(self.tokenizer, vocabulary, self.ends)
        return self._constraint.step(schema)

    def _rank(self, rows: Sequence[Row], inputs: dict[str, Any]) -> list[Reply | Likelihood]:
        """Likelihoods of the options, which are the last tokens of their rows."""
        import torch

        options = [row.option for row in rows]
        # The logits at one token foretell the next, so those before an option are wanted too.
        logits = self._last_logits(inputs, 1 + max(len(o) for o in options if o is not None))
        outcomes: list[Reply | Likelihood] = []
        for row, option, line in zip(rows, options, logits, strict=True):
            assert option is not None
            odds = torch.log_softmax(line[-1 - len(option) : -1].float(), dim=-1)
            total = odds.gather(1, option.to(odds.device)[:, None]).double().sum().item()
            text = row.prompt.request.options[row.label]
            outcomes.append(
                Likelihood(total, len(option), len(text))
                if total == total
                else Reply(error=NOT_A_NUMBER)
            )
        return outcomes

    def _last_logits(self, inputs: dict[str, Any], count: int) -> torch.Tensor:
        """Logits at the last `count` tokens of every row, shape (rows, count, vocabulary)."""
        seen: list[torch.Tensor] = []

        def look(module: Any, arguments: Any, output: Any) -> None:
            seen.append(output.logits[:, -count:])

        hook = self.network.register_forward_hook(look)
        try:
            self._generate(inputs, 1, **({"logits_to_keep": count} if self._keeps else {}))
        finally:
            hook.remove()
        return seen[0]

    def _generate(self, inputs: dict[str, Any], tokens: int, **more: Any) -> Any:
        from transformers import GenerationConfig

        settings = GenerationConfig(
            max_new_tokens=tokens,
            do_sample=False,
            num_beams=1,
            use_cache=True,
            eos_token_id=self.ends,
            pad_token_id=self.pad,
            return_dict_in_generate=more.pop("return_dict_in_generate", False),
        )
        return self.network.generate(**inputs, generation_config=settings, **more)


class _Watch:
    """A step of `generate` that changes nothing, but notes the rows whose scores are no numbers."""

    def __init__(self) -> None:
        self.broken: Any = False

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.broken |= scores.isnan().any(dim=-1)
        return scores


def _line(row: Row) -> dict[str, torch.Tensor]:
    """What goes with the tokens of a row that is given whole, each of shape (tokens,)."""
    import torch

    line = {name: value[0] for name, value in row.prompt.aligned.items()}
    if (option := row.option) is not None:
        for name, value in line.items():
            # An option is text (type 0), and seen (mask 1).
            more = (
                option if name == "input_ids" else torch.full_like(option, name == "attention_mask")
            )
            line[name] = torch.cat([value, more.to(value.dtype)])
    return line


def _branchings(rows: Sequence[Row]) -> list[Branching]:
    """The rows of each group with their common prefix; empty if a prefix ends before a picture."""
    found = []
    for _, group in groupby(rows, key=lambda row: row.prompt.seen):
        members = list(group)
        prefix = _common_prefix(members)
        if prefix <= members[0].prompt.last_picture:
            return []
        found.append(Branching(members, prefix))
    return found


def _common_prefix(rows: Sequence[Row]) -> int:
    """How many tokens all rows begin with, leaving each at least the last token of its prompt: the
    logits there foretell the first token of the reply."""
    length = min(row.prompt.tokens for row in rows) - 1
    first = rows[0].ids[:length]
    for row in rows[1:]:
        differs = (row.ids[:length] != first[:length]).nonzero()
        length = int(differs[0]) if len(differs) else length
    return length
