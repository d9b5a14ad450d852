"""What a run was made with: versions, machine, command. Facts for the manifest, never identity."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

PACKAGES = (
    "accelerate",
    "huggingface_hub",
    "numpy",
    "peft",
    "pillow",
    "pyarrow",
    "spare-eval",
    "tokenizers",
    "torch",
    "torchvision",
    "transformers",
)


def environment() -> dict[str, object]:
    """Versions of what could change a score, the machine, the revision of this code, the
    command."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "packages": versions,
        "revision": _revision(),
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "accelerators": _accelerators(),
        "command": sys.argv,
    }


def _accelerators() -> list[str]:
    torch = sys.modules.get("torch")  # an engine without torch must not pay for its import
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _revision() -> str:
    """Git revision of this code, from its checkout or from pip's record of the install (PEP
    610)."""
    try:
        record = importlib.metadata.distribution("spare-eval").read_text("direct_url.json")
        commit = json.loads(record or "{}").get("vcs_info", {}).get("commit_id", "")
        if commit:
            return str(commit)
    except importlib.metadata.PackageNotFoundError:
        pass
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        described = subprocess.run(  # noqa: S603
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return described.stdout.strip()
