"""The C interface of kexue for other Cython modules: ``from kexue cimport capi``.

The functions are declared in ``capi.pxd``, which stands beside this file, and are found here, in ``__pyx_capi__``, when
the module that cimports them is imported. They live in the extension modules of their families, so that no kernel is
there twice.
"""

from __future__ import annotations

from kexue import _decoding, _documents, _entropy, _independence, _transport, _ufuncs

# Of a C function that has a Python namesake in its module.
_OTHER_NAMES = {"count_common": "longest_common_subsequence", "count_edits": "edit_distance"}

__pyx_capi__: dict[str, object] = {
    _OTHER_NAMES.get(name, name): capsule
    for module in (_decoding, _documents, _entropy, _independence, _transport, _ufuncs)
    for name, capsule in module.__pyx_capi__.items()
}
