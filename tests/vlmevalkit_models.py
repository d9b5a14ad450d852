"""Models as VLMEvalKit wants them, for the tests. Imported where VLMEvalKit is."""

from __future__ import annotations

from typing import Any

import PIL.Image
import torch
import transformers
from vlmeval.vlm.base import BaseModel


class Tiny(BaseModel):  # type: ignore[misc]
    """Any small checkpoint of transformers, used as its documentation says."""

    INTERLEAVE = True

    def __init__(self, model_path: str, max_new_tokens: int = 16) -> None:
        super().__init__()
        self.network: Any = transformers.AutoModelForImageTextToText.from_pretrained(model_path)
        self.processor: Any = transformers.AutoProcessor.from_pretrained(model_path)
        self.bound = max_new_tokens

    def generate_inner(self, message: list[dict[str, str]], dataset: str | None = None) -> str:
        content: list[dict[str, Any]] = []
        for part in message:
            if part["type"] == "image":
                with PIL.Image.open(part["value"]) as image:
                    content.append({"type": "image", "image": image.convert("RGB")})
            else:
                content.append({"type": "text", "text": part["value"]})
        inputs = self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            tokens = self.network.generate(
                **inputs,
                max_new_tokens=self.bound,
                do_sample=False,
                repetition_penalty=1.0,
            )
        written = tokens[0, inputs["input_ids"].shape[1] :]
        return str(self.processor.tokenizer.decode(written, skip_special_tokens=True))


class Wordy(Tiny):
    """Writes a prompt of its own over the data set's, as most of VLMEvalKit's wrappers do."""

    def use_custom_prompt(self, dataset: str) -> bool:
        return True

    def build_prompt(self, line: Any, dataset: str | None = None) -> list[dict[str, str]]:
        pictures = self.dump_image(line, dataset)
        words = f"{line['question']}\nBe brief."
        shown = [{"type": "image", "value": path} for path in pictures]
        return [*shown, {"type": "text", "value": words}]
