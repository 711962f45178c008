"""Distances and neighbours of documents, HSIC, and random projection, over a Dask cluster.

Dask is loaded when a function is called.
"""

from kexue.dask._documents import kneighbors, pairwise_distances
from kexue.dask._independence import hsic
from kexue.dask._projection import random_projection

__all__ = ["hsic", "kneighbors", "pairwise_distances", "random_projection"]
