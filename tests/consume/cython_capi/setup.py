from Cython.Build import cythonize
from setuptools import setup

setup(name="consumer", version="1.0", ext_modules=cythonize("consumer.pyx"))
