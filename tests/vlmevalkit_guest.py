"""VLMEvalKit at work on exported tasks, in a process of its own: `python vlmevalkit_guest.py FILE`.

FILE is JSON: `folder` (of the tasks), `replies` (data set -> index -> reply), `checkpoint`, `run`
(names of the data sets that a model is to answer), `work` (a folder to write into). Written there
is `found.json`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from spare.harness.neighbours.vlmevalkit_run import _read
from spare.torchvision_repair import repair_torchvision


def main() -> None:
    asked = json.loads(Path(sys.argv[1]).read_text())
    folder, work = Path(asked["folder"]), Path(asked["work"])
    os.environ["LMUData"] = str(folder)  # noqa: SIM112 - its name
    os.environ["PRED_FORMAT"] = "tsv"
    os.chdir(work)
    repair_torchvision()
    import vlmeval.run as harness
    import vlmeval.vlm
    from vlmevalkit_models import Tiny

    config = json.loads((folder / "spare.json").read_text())
    found: dict[str, Any] = {"datasets": {}, "run": {}}
    for name in config["data"]:
        by_config = harness.build_dataset_from_config(config["data"], name)
        by_name = harness.build_dataset(name)
        found["datasets"][name] = {
            "type": by_config.TYPE,
            "by_name": by_name.TYPE,
            "rows": [
                {
                    "index": str(line["index"]),
                    "answer": str(line.get("answer")),
                    "options": {
                        label: str(line[label])
                        for label in map(chr, range(65, 90))
                        if label in line and line[label] == line[label]
                    },
                    "prompt": by_config.build_prompt(line),
                    "same": by_name.build_prompt(by_name.data.iloc[place])
                    == by_config.build_prompt(line),
                }
                for place, (_, line) in enumerate(by_config.data.iterrows())
            ],
        }
        if name in asked["replies"]:
            file = work / f"model_{name}.tsv"
            table = by_config.data.copy()
            table["prediction"] = [asked["replies"][name][str(one)] for one in table["index"]]
            harness_dump(table, file)
            figures = by_config.evaluate(str(file), model="exact_matching", nproc=1)
            found["datasets"][name]["figures"] = figures.to_dict("records")
            found["datasets"][name]["file"] = str(file)
            kind = config["data"][name]["class"]
            found["datasets"][name]["read"] = [
                _read(kind, row, row["prediction"]) for _, row in table.iterrows()
            ]

    del os.environ["PRED_FORMAT"]  # as most have it: spreadsheets
    vlmeval.vlm.Tiny = Tiny
    config["data"] = {name: config["data"][name] for name in asked["run"]}
    config["model"] = {"tiny": {"class": "Tiny", "model_path": asked["checkpoint"]}}
    (work / "config.json").write_text(json.dumps(config))
    sys.argv = ["run.py", "--config", "config.json", "--judge", "exact_matching"]
    sys.argv += ["--work-dir", str(work / "run")]
    harness.main()
    for name in asked["run"]:
        (file,) = (work / "run").rglob(f"tiny_{name}.xlsx")
        found["run"][name] = str(file)
    (work / "found.json").write_text(json.dumps(found))


def harness_dump(table: Any, file: Path) -> None:
    from vlmeval.smp import dump

    dump(table.drop(columns=["image"], errors="ignore"), str(file))


if __name__ == "__main__":
    main()
