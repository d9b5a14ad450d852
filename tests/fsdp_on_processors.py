"""`spare` under FSDP on processors: `accelerate launch ... THIS_FILE finetune ...`.

accelerate shards weights where devices are GPUs, and leaves processors with a copy each, whatever
is asked for. FSDP2 itself runs on processors by gloo, so we tell accelerate that they are GPUs.
"""

from __future__ import annotations

import sys
from typing import Any

from spare.finetune.network import require_packages

require_packages()

from accelerate import state  # noqa: E402
from accelerate.utils import DistributedType  # noqa: E402

from spare.cli import main  # noqa: E402

begin = state.AcceleratorState.__init__


def begin_as_gpus(self: Any, *settings: Any, **named: Any) -> None:
    shared = state.PartialState(cpu=True)._shared_state
    if shared["distributed_type"] == DistributedType.MULTI_CPU:
        shared["distributed_type"] = DistributedType.MULTI_GPU
    begin(self, *settings, **named)
    assert self.distributed_type == DistributedType.FSDP


state.AcceleratorState.__init__ = begin_as_gpus

if __name__ == "__main__":
    sys.exit(main())
