"""docs/adding-a-model-type.md: its fit is run on a synthetic market, and proves what the page asks of it."""

import re
from pathlib import Path

import numpy as np
from tests.unit.trainer import market_files

from trainer import fit
from trainer.export import score

PAGE = Path(__file__).resolve().parents[3] / "docs" / "adding-a-model-type.md"
ROWS, EDGE = (2000, 800, 800), 0.25


def test_the_example_fits_and_serves_what_it_says(tmp_path):
    market_files.write(market_files.frames(ROWS, edge=EDGE), tmp_path)
    job = market_files.job(ROWS, edge=EDGE, min_train_rows=500)
    prepared = fit.prepare(job, tmp_path)
    known = {
        "recipe": fit.recipe_of(job, prepared),
        "train": prepared.rows["train"],
        "validation": prepared.rows["validation"],
        "with_holes": _with_holes,
        "score": score,
    }
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)

    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), known)

    assert len(blocks) == 2
    assert known["served"].shape == (len(prepared.rows["validation"]), len(prepared.usable.labels))


def _with_holes(rows):
    features = rows.matrix()
    features[::7, 0] = np.nan
    return features
