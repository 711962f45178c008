import subprocess
import sys

from setuptools import Extension, setup

import kexue

core = subprocess.run(
    [sys.executable, "-m", "kexue", "info", "--amalgamation"], check=True, capture_output=True, text=True
).stdout.strip()
setup(
    name="consumer",
    version="1.0",
    ext_modules=[
        Extension(
            "consumer",
            ["consumer.c", core],
            include_dirs=[kexue.get_include()],
            extra_compile_args=["-std=c11"],
            libraries=["m", "pthread"],
        )
    ],
)
