"""Models of lm-eval's zoo: `lm-eval:TYPE,NAME=VALUE,...`, as its `--model` and `--model_args` have
it. For what it runs and we do not; a checkpoint of transformers is faster without it.

lm-eval is told what every engine is: one user turn of the model's chat template, pictures in their
places, greedy decoding, our bound. What it cannot do is said and not papered over:

- Types that read no pictures refuse questions with some, and `hf-multimodal` and `vllm-vlm` rank no
  options beside pictures (their log-likelihoods there raise NotImplementedError).
- Why a reply ended, and how many tokens it had, is not told. No reply is held to a JSON schema.
- It would cut a prompt that is too long; checkpoints of transformers refuse it here instead.
- Where a template ends in a line break, its likelihood is counted to every option.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spare.errors import ModelError, PictureError, SpareError
from spare.guests import as_guest, require_lm_eval
from spare.harness.models import Options
from spare.harness.models.digests import PROCESSOR_FILES, digest_files, digest_settings, digest_text
from spare.harness.models.listing import refuse_key
from spare.harness.models.loading import find_checkpoint, first_line, quiet, read_lineage
from spare.harness.models.probe import sample_picture
from spare.harness.models.prompts import REFUSALS, request_fault, signs
from spare.harness.models.transformers import make_greedy
from spare.harness.models.types import INSTEAD_OF_RANKING, Request, Response
from spare.images import Picture, open_picture
from spare.tasks.types import Likelihood, Reply
from spare.torchvision_repair import repair_torchvision

if TYPE_CHECKING:
    import PIL.Image

WINDOW = 32
"""Requests that lm-eval is given at a time; it sorts them by length and cuts them into batches."""

PLACEHOLDER = "<image>"
"""What lm-eval puts a picture in the place of, in any text."""

LOCAL = ("hf", "vllm", "sglang")
"""What the types begin with that load a checkpoint: they take a repetition penalty, and most
checkpoints ship one, with which greedy decoding would not be greedy."""

ARGUMENTS = {
    "adapter": "peft",
    "attention": "attn_implementation",
    "device": "device",
    "dtype": "dtype",
    "max_pixels": "max_pixels",
    "trust_remote_code": "trust_remote_code",
}
"""Our options -> lm-eval's arguments."""

SPEED = ("batch_size", "max_batch_size", "device", "parallelize")
"""Arguments that change no reply."""

FAULTS = (*REFUSALS, OSError, AssertionError, KeyError, TypeError)
"""What its models raise about a question."""

NO_PICTURES = "lm-eval's type {kind} reads no pictures; hf-multimodal and vllm-vlm do."
NO_RANKING = (
    "lm-eval's type {kind} gives no log-likelihoods beside pictures, so it cannot rank options "
    f"there; {INSTEAD_OF_RANKING}."
)
NO_LIKELIHOODS = f"lm-eval's type {{kind}} gives no log-likelihoods; {INSTEAD_OF_RANKING}."


def load(name: str, options: Options) -> LmEval:
    """The model of lm-eval's type and arguments in `name` ("hf-multimodal,pretrained=DIR").

    Raises:
        ModelError: there is no such type, or lm-eval cannot load it.
    """
    kind, _, rest = name.partition(",")
    if not kind:
        raise ModelError(
            "Name a type of lm-eval, too: lm-eval:hf-multimodal,pretrained=CHECKPOINT."
        )
    try:
        require_lm_eval()
    except SpareError as error:
        raise ModelError(str(error)) from None
    if options.batch_tokens is not None:
        raise ModelError("lm-eval counts questions: write batch_size=N into the model's arguments.")
    repair_torchvision()
    arguments = _arguments(rest, options)
    folder: Path | None = None
    place = arguments.get("pretrained")
    if kind.startswith(LOCAL) and isinstance(place, str) and "revision" not in arguments:
        checkpoint = find_checkpoint(place, options.trust_remote_code)
        folder, arguments["pretrained"] = checkpoint.folder, str(checkpoint.folder)
    if kind.startswith("hf"):
        arguments.setdefault("device", default_device())
    with as_guest(), quiet():
        network = _create(kind, arguments)
    model = LmEval(kind, network, _identity(kind, arguments), place or kind)
    model.lineage = read_lineage(Path(options.adapter or folder)) if folder else {}
    return model


def _arguments(rest: str, options: Options) -> dict[str, Any]:
    """lm-eval's arguments as it reads them, and our options under its names."""
    from lm_eval.utils import simple_parse_args_string

    for piece in filter(None, rest.split(",")):
        if "=" not in piece:
            raise ModelError(f"{piece!r} is no NAME=VALUE of lm-eval's; a comma parts them.")
        refuse_key(piece.partition("=")[0])
    arguments: dict[str, Any] = dict(simple_parse_args_string(rest))
    for option, argument in ARGUMENTS.items():
        value = getattr(options, option)
        if value not in ("", "auto", None, False):
            if argument in arguments:
                raise ModelError(f"The model's arguments and an option both set {argument}.")
            arguments[argument] = value
    return arguments


def default_device() -> str:
    """The first accelerator, or the processor: lm-eval takes a GPU for granted."""
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found.type if found else "cpu"


def _create(kind: str, arguments: Mapping[str, Any]) -> Any:
    from lm_eval.api.registry import get_model

    try:
        made = get_model(kind)
    except (ValueError, ImportError) as error:
        raise ModelError(f"lm-eval has no working type {kind}: {first_line(error)}") from error
    try:
        network = made.create_from_arg_obj(dict(arguments))
    except (*FAULTS, ImportError, AttributeError) as error:
        raise ModelError(f"lm-eval cannot load {kind}: {first_line(error)}") from error
    if kind.startswith("hf"):
        # It would obey what a checkpoint ships about generation, and would not be greedy then.
        make_greedy(network.model, network.tokenizer)
    if network.world_size != 1:
        raise ModelError("lm-eval's data parallelism is not for this engine; start one process.")
    return network


def _identity(kind: str, arguments: Mapping[str, Any]) -> dict[str, str]:
    """What could change a reply: folders by their content, all else as it was written."""
    identity = {"engine": "lm-eval", "type": kind}
    for name, value in sorted(arguments.items()):
        if name in SPEED:
            continue
        folder = Path(str(value))
        identity[name] = _content(folder) if folder.is_dir() else str(value)
    return identity


def _content(folder: Path) -> str:
    names = ("config.json", "adapter_config.json", "generation_config.json", *PROCESSOR_FILES)
    weights = sorted(folder.glob("*.safetensors"))
    return digest_text(digest_files(weights) + digest_settings(folder / name for name in names))


@dataclass(slots=True, eq=False)
class Question:
    """A request as lm-eval is asked it.

    Attributes:
        context: the filled-in chat template; `images`: what stands at its signs for pictures.
    """

    request: Request
    context: Any
    images: list[PIL.Image.Image] = field(default_factory=list)

    @property
    def kind(self) -> tuple[bool, bool]:
        """Questions of one kind may be asked in one call."""
        return self.request.rank, bool(self.images)


class LmEval:
    """A model of lm-eval's. See `Model` for what the attributes mean."""

    identity: Mapping[str, str]
    facts: Mapping[str, str]
    lineage: Mapping[str, Any]

    def __init__(self, kind: str, network: Any, identity: Mapping[str, str], name: str) -> None:
        self.kind = kind
        self.network = network
        self.sees = bool(getattr(network, "MULTIMODAL", False))
        self._signs = self._find_signs()
        self._encode = getattr(network, "tok_encode", None)
        self._quiet = {
            method: {"disable_tqdm": True}
            if "disable_tqdm" in inspect.signature(getattr(network, method)).parameters
            else {}
            for method in ("generate_until", "loglikelihood")
        }
        self._refuse_to_cut()
        self._template("?")
        # A server would be asked for money, and says so when it is asked in earnest.
        self._ranks_pictures = self.sees and (hasattr(network, "base_url") or self._try_to_rank())
        packages = ("lm_eval", "torch", "transformers")
        self.identity = identity
        self.facts = {
            "model": name,
            "ranks beside pictures": "yes" if self._ranks_pictures else "no",
            **{package: importlib.metadata.version(package) for package in packages},
        }

    def objection(self, request: Request) -> str:
        """Why no request of this kind can be answered, or ""."""
        pictures = any(isinstance(part, Picture) for part in request.parts)
        if pictures and not self.sees:
            return NO_PICTURES.format(kind=self.kind)
        if pictures and request.rank and not self._ranks_pictures:
            return NO_RANKING.format(kind=self.kind)
        if request.schema:
            return "lm-eval holds no reply to a JSON schema."
        return ""

    def answer(self, requests: Iterable[Request]) -> Iterator[Response]:
        """One response per request, window by window."""
        iterator = iter(requests)
        while window := list(islice(iterator, WINDOW)):
            questions = []
            for request in window:
                prepared = self._prepare(request)
                if isinstance(prepared, str):
                    yield Response(request.key, Reply(error=prepared))
                else:
                    questions.append(prepared)
            questions.sort(key=lambda question: question.kind)
            for _, alike in groupby(questions, key=lambda question: question.kind):
                yield from self._run(list(alike))

    def spell(self, request: Request) -> str:
        """The prompt of a request as a text, in which the checkpoint's signs stand for pictures."""
        return str(self._template(_text(request)))

    def _prepare(self, request: Request) -> Question | str:
        """A request as a question, or why it cannot be asked."""
        if error := self.objection(request) or request_fault(request, (PLACEHOLDER, *self._signs)):
            return error
        try:
            pictures = (part for part in request.parts if isinstance(part, Picture))
            images = [open_picture(picture) for picture in pictures]
        except PictureError as error:
            return str(error)
        question = Question(request, self._template(_text(request)), images)
        return self._excess(question) or question

    def _excess(self, question: Question) -> str:
        """Why a question without pictures is too long, or "". With some, only the model's own
        processor knows; see `_refuse_to_cut`."""
        if question.images or not self.kind.startswith("hf") or self._encode is None:
            return ""
        request = question.request
        reply = max(map(self._count, request.options.values())) if request.rank else 0
        tokens = self._count(question.context) + (reply or request.max_new_tokens)
        if tokens <= self.network.max_length:
            return ""
        return (
            f"The prompt is too long: with its reply it has up to {tokens} tokens, and the model's "
            f"context is {self.network.max_length}."
        )

    def _refuse_to_cut(self) -> None:
        """Make a type that cuts long prompts from the left, pictures or not, refuse them."""
        encode = getattr(self.network, "tok_batch_multimodal_encode", None)
        if encode is None:
            return

        def refusing(*texts: Any, left_truncate_len: int | None = None, **settings: Any) -> Any:
            encoded = encode(*texts, **settings)
            tokens = encoded["input_ids"].shape[1]
            if left_truncate_len is not None and tokens > left_truncate_len:
                raise ValueError(f"the prompt is too long: {tokens} tokens")
            return encoded

        self.network.tok_batch_multimodal_encode = refusing

    def _template(self, text: str) -> Any:
        """One user turn and the opening of a reply. Raises ModelError if there is no template."""
        import jinja2

        try:
            return self.network.apply_chat_template([{"role": "user", "content": text}])
        except (*FAULTS, AttributeError, ImportError, jinja2.TemplateError) as error:
            raise ModelError(
                f"lm-eval's type {self.kind} fills in no chat template: {first_line(error)}"
            ) from error

    def _find_signs(self) -> list[str]:
        holder = getattr(self.network, "processor", self.network)
        tokenizer = getattr(holder, "tokenizer", None)
        return signs(holder) if hasattr(tokenizer, "all_special_tokens") else []

    def _try_to_rank(self) -> bool:
        """Whether options can be ranked beside a picture: one is."""
        request = Request("", ("?",), {"A": "yes"}, rank=True)
        question = Question(request, self._template(f"{PLACEHOLDER}?"), [sample_picture(56, 0)])
        try:
            self._rank([question])
        except NotImplementedError:
            return False
        return True

    def _run(self, questions: Sequence[Question]) -> Iterator[Response]:
        """Responses to questions of one kind. A call that fails is halved, down to the question
        that is at fault."""
        rank = questions[0].request.rank
        replies: Sequence[Reply] = ()
        fault = ""
        try:
            replies = self._rank(questions) if rank else self._write(questions)
        except NotImplementedError:
            fault = (NO_RANKING if questions[0].images else NO_LIKELIHOODS).format(kind=self.kind)
            replies = [Reply(error=fault)] * len(questions)
        except FAULTS as error:
            fault = f"lm-eval failed at the question: {type(error).__name__}: {first_line(error)}"
        # Outside of `except`, which would keep the failed call's tensors alive.
        if replies:
            for question, reply in zip(questions, replies, strict=True):
                yield Response(question.request.key, reply)
        elif len(questions) == 1:
            yield Response(questions[0].request.key, Reply(error=fault))
        else:
            middle = len(questions) // 2
            yield from self._run(questions[:middle])
            yield from self._run(questions[middle:])

    def _write(self, questions: Sequence[Question]) -> list[Reply]:
        more = {"repetition_penalty": 1.0} if self.kind.startswith(LOCAL) else {}
        instances = [
            _instance(
                question,
                {
                    "until": [],
                    "max_gen_toks": question.request.max_new_tokens,
                    "do_sample": False,
                    "temperature": 0.0,
                    **more,
                },
            )
            for question in questions
        ]
        texts = self.network.generate_until(instances, **self._quiet["generate_until"])
        return [Reply(text=text) for text in texts]

    def _rank(self, questions: Sequence[Question]) -> list[Reply]:
        instances = [
            _instance(question, option)
            for question in questions
            for option in question.request.options.values()
        ]
        found = iter(self.network.loglikelihood(instances, **self._quiet["loglikelihood"]))
        return [
            Reply(
                likelihoods={
                    label: Likelihood(float(next(found)[0]), self._count(option), len(option))
                    for label, option in question.request.options.items()
                }
            )
            for question in questions
        ]

    def _count(self, text: str) -> int:
        """Tokens of a text; 1 where the type has no tokenizer."""
        return len(self._encode(text, add_special_tokens=False)) if self._encode else 1


def _text(request: Request) -> str:
    return "".join(part if isinstance(part, str) else PLACEHOLDER for part in request.parts)


def _instance(question: Question, asked: Any) -> Any:
    from lm_eval.api.instance import Instance

    kind = "loglikelihood" if question.request.rank else "generate_until"
    pictures = ({"visual": question.images},) if question.images else ()
    return Instance(kind, {}, (question.context, asked, *pictures), 0)
