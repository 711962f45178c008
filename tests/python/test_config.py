import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import scipy

import kexue


def test_dict():
    config = kexue.show_config(mode="dict")
    assert config["kexue"] == kexue.__version__
    assert config["isa"] in config["isas_compiled"]
    assert config["isas_compiled"][0] == "baseline"
    assert config["compiler"].split()[0] in ("gcc", "clang", "msvc")
    assert config["threads"] == kexue.get_num_threads()
    assert config["python"] == sys.version.split()[0]
    assert config["numpy"] == np.__version__
    assert config["scipy"] == scipy.__version__
    assert config["blas"] not in ("", "unknown")


def test_threads_block_is_told():
    with kexue.threads(3):
        config = kexue.show_config(mode="dict")
    assert (config["threads"], config["threads_from"]) == (3, "kexue.threads")


def test_print(capsys):
    assert kexue.show_config() is None
    lines = capsys.readouterr().out.splitlines()
    config = kexue.show_config(mode="dict")
    assert [line.split()[0] for line in lines] == list(config)
    assert f"{'isas_compiled':14} {' '.join(config['isas_compiled'])}" in lines


def test_other_modes_are_refused():
    with pytest.raises(kexue.KexueValueError, match="mode must be"):
        kexue.show_config(mode="stdout")


def isa_used(**wanted):
    command = [sys.executable, "-c", "import kexue; print(kexue.show_config('dict')['isa'])"]
    environment = {name: value for name, value in os.environ.items() if name != "KEXUE_ISA"} | wanted
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def test_kexue_isa_lowers_the_instruction_set():
    levels = kexue.show_config(mode="dict")["isas_compiled"]
    best = isa_used()
    for isa in levels:
        assert isa_used(KEXUE_ISA=isa) == min(isa, best, key=levels.index)


def test_version_is_the_projects():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert kexue.__version__ == project["version"]


def test_get_include():
    folder = kexue.get_include()
    assert (Path(folder) / "kexue" / "kexue.h").is_file()


def test_an_installation_without_c_files_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("kexue._context.__file__", str(tmp_path / "_context.so"))
    with pytest.raises(FileNotFoundError, match="kexue.h is not there"):
        kexue.get_include()
