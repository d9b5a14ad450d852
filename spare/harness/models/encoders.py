"""The two encoders of a dual encoder: what they take, what they give, and whether the network
itself compares that as we do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spare.harness.models.loading import Checkpoint, dtype_of, first_line
from spare.harness.models.probe import FAULTS
from spare.harness.models.prompts import signs

if TYPE_CHECKING:
    import PIL.Image
    import torch

SIGLIP = ("siglip", "siglip2")
"""Kinds whose texts were lower-cased and filled up to the full length in training, without a mask
(big_vision: `lower|tok(length=64, ...)`). Padded less, they are other texts to the model; and not
every published tokenizer of theirs does it by itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """One picture or one caption as its encoder takes it.

    Attributes:
        tensors: name -> tensor whose first dimension is 1.
        tokens: how many the encoder makes of it.
    """

    tensors: Mapping[str, torch.Tensor]
    tokens: int

    @property
    def shapes(self) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
        """Equal for inputs that may be computed together."""
        return tuple(self.tensors), tuple(tuple(value.shape) for value in self.tensors.values())


class Encoders:
    """The two halves of a dual encoder, and the processor that prepares what they take.

    Attributes:
        signs: tokens that mean something to the model and that no text should contain.
        longest: most tokens that the text encoder holds.
        reading: how captions are made into tokens, for a person.
    """

    def __init__(self, network: Any, processor: Any) -> None:
        self.network = network
        self._processor = processor
        self.signs = signs(processor)
        text = network.config.get_text_config()
        longest = getattr(text, "max_position_embeddings", None) or 2**31
        self.longest = int(min(longest, processor.tokenizer.model_max_length))
        self._siglip = network.config.model_type in SIGLIP
        self.reading = "as the processor has it"
        if self._siglip:
            self.reading = f"in lower case, filled up to {self.longest} tokens"
        # A vision transformer makes a token of every patch. Others fold about as much into one.
        vision = getattr(network.config, "vision_config", None)
        self._patch_values = 3 * getattr(vision, "patch_size", 32) ** 2

    def see(self, image: PIL.Image.Image) -> Inputs:
        """What the picture encoder takes."""
        tensors = dict(self._processor(images=[image], return_tensors="pt"))
        return Inputs(tensors, max(1, tensors["pixel_values"].numel() // self._patch_values))

    def read(self, text: str) -> Inputs:
        """What the text encoder takes: the whole text, even if that is more than it holds."""
        tensors = self._tokens([text])
        return Inputs(tensors, tensors["input_ids"].shape[1])

    def _tokens(self, texts: Sequence[str], **settings: Any) -> dict[str, torch.Tensor]:
        if self._siglip:
            texts = [text.lower() for text in texts]
            settings = {"padding": "max_length", "max_length": self.longest}
        tensors = dict(
            self._processor(
                text=texts, truncation=False, verbose=False, return_tensors="pt", **settings
            )
        )
        return {"input_ids": tensors["input_ids"]} if self._siglip else tensors

    def of_pictures(self, inputs: Sequence[Inputs]) -> torch.Tensor:
        """Embeddings of length 1, shape (pictures, width), in 32 bits, in the processor's memory.
        All pictures must be of one shape."""
        return self._directions(self.network.get_image_features, inputs)

    def of_texts(self, inputs: Sequence[Inputs]) -> torch.Tensor:
        """The same for texts."""
        return self._directions(self.network.get_text_features, inputs)

    def _directions(self, features: Callable[..., Any], inputs: Sequence[Inputs]) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            found: torch.Tensor = features(**self._together(inputs)).pooler_output.float().cpu()
            lengths: torch.Tensor = found.norm(dim=-1, keepdim=True)
            return found / lengths

    def _together(self, inputs: Sequence[Inputs]) -> dict[str, torch.Tensor]:
        import torch

        device, dtype = self.network.device, self.network.dtype
        together = {
            name: torch.cat([one.tensors[name] for one in inputs]) for name in inputs[0].tensors
        }
        return {
            name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for name, value in together.items()
        }

    def check(self, checkpoint: Checkpoint) -> None:
        """Compare three pictures with three captions, and have the network do the same by itself,
        in the way that is documented: all at once, captions padded to the longest.

        Not every family with two encoders compares by the angle, and in some (AIMv2 with
        transformers 5.19) a caption alone is not what it is among others.

        Raises:
            ModelError: the network fails at it, or disagrees.
        """
        import PIL.Image
        import torch

        ramp = PIL.Image.linear_gradient("L")
        texts = ("a photo of a cat", "A mug to the left of a bowl", "blue")
        try:
            pictures = [self.see(ramp.rotate(turn).convert("RGB")) for turn in (0, 90, 180)]
            captions = torch.cat([self.of_texts([self.read(text)]) for text in texts])
            ours = self.of_pictures(pictures) @ captions.T
            padded = Inputs(self._tokens(texts, padding=True), 0)
            with torch.inference_mode():
                found = self.network(**self._together(pictures), **self._together([padded]))
            theirs = found.logits_per_image.float().cpu()
        except FAULTS as error:
            raise checkpoint.error(
                f"fails at comparing a picture with a caption: {first_line(error)}"
            ) from error
        dtype = dtype_of(self.network)
        if ours.isnan().any():
            raise checkpoint.error(
                f"computes something that is not a number (NaN) as {dtype}; try another --dtype."
            )
        # Temperature and bias do not change how two rows of figures go together.
        agreement = torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]
        if not agreement > (0.999 if dtype == "float32" else 0.9):
            raise checkpoint.error(
                f"({checkpoint.config['model_type']}) finds other captions similar to a picture "
                "than the engine clip does, so its ranking is not known; use another model."
            )
