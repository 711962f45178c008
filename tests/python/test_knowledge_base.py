"""The example that answers questions by constrained beam search."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "knowledge_base.py"


def test_example():
    """All accuracies are of subjects that the model has not seen."""
    example = runpy.run_path(str(EXAMPLE))
    base, kinds = example["build"]()
    assert [len(asked) for asked in kinds.values()] == [342, 228, 88]
    result = example["measure"](base, kinds)
    known, others, predicates = result.values()
    assert known["no tree"] < 0.1  # a model that does not know the objects
    assert known["tree"] > 0.95
    assert others["no tree"] < 0.1
    assert min(others["tree"], others["tree, look-ahead"]) > 0.75
    assert predicates["no tree"] == 0
    assert predicates["tree"] < 0.8
    assert predicates["tree, look-ahead"] > 0.95

    fact = base.answer("What is the capital of New Zealand ?")
    assert fact == ("New Zealand", "capital", "Wellington")
    # An answer is a fact, whatever is asked.
    assert base.answer("How now , brown cow ?") in base.facts
    assert all([base.ids[word] for word in fact.words()] in base.tree for fact in base.facts)

    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=True, env=environment)
    printed = [[float(number) for number in line.split()[-3:]] for line in done.stdout.splitlines()[-3:]]
    assert printed == [[round(accuracy, 3) for accuracy in accuracies.values()] for accuracies in result.values()]
    assert "Argentina, official language: Spanish" in done.stdout
