"""Every NumPy ufunc and gufunc of kexue in one namespace."""

import numpy as np

from kexue import _ufuncs

__all__ = sorted(name for name, value in vars(_ufuncs).items() if isinstance(value, np.ufunc))

globals().update({name: getattr(_ufuncs, name) for name in __all__})
