"""Every NumPy ufunc and gufunc of kexue in one namespace."""

import numpy as np

from kexue import _ufuncs

_all = {name: value for name, value in vars(_ufuncs).items() if isinstance(value, np.ufunc)}
globals().update(_all)  # those with an underscore too: pickle finds a ufunc by its module

__all__ = sorted(name for name in _all if not name.startswith("_"))
