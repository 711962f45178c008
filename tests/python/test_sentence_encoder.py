"""The example that trains a sentence encoder's head."""

import runpy
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "sentence_encoder.py"


def test_example():
    """In a shorter form: both ways of training are far better than none, on words that they have not seen."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        example = runpy.run_path(str(EXAMPLE))
        found = example["run"](train_pairs=500, test_pairs=400, epochs=5)
    finally:
        torch.set_num_threads(before)
    assert list(found) == ["untrained", "CoSENT", "CoSENT and WMD", "topics"]
    for which in (0, 1):
        untrained, *trained, topics = (correlations[which] for correlations in found.values())
        assert all(untrained + 0.05 < correlation < topics for correlation in trained)
    assert found["CoSENT"] != found["CoSENT and WMD"]
