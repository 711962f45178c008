"""What mypy must refuse, with the error behind it; checked by tests/python/test_typing.py, never run."""

import numpy as np

import kexue as kx

x = np.ones((3, 3))

kx.emd(x, x)  # E: call-overload
kx.emd(None, None, x, log="yes")  # E: call-overload
kx.emd_1d([0.0], [1.0], metric="manhattan")  # E: call-overload
kx.DocumentIndex(x, metric="wcd")  # E: arg-type
kx.squareplus(x, 1.0, 2.0, 3.0)  # E: call-overload
kx.gelu(None)  # E: call-overload
print(kx.softmaxx)  # E: attr-defined
kx.zlpr_loss(x, x, return_gradient=True)  # E: call-overload
print(kx.get_num_threads().shape)  # E: attr-defined
