# The Walsh-Hadamard transform of rows; kexue.fwht checks their length.
from kexue.core cimport (
    kx_walsh_hadamard_f32,
    kx_walsh_hadamard_f64,
    kx_walsh_hadamard_orthonormal_f32,
    kx_walsh_hadamard_orthonormal_f64,
)

fwht = of_rows("fwht", "(n)->(n)", row_loops, <void *>kx_walsh_hadamard_f32, <void *>kx_walsh_hadamard_f64, """
Walsh-Hadamard transform of rows, in natural order: H x, H[i, j] = (-1)**popcount(i & j).

Parameters
----------
x : array_like, shape (..., n)
    n is a power of two. {real}
{axis}

Returns
-------
ndarray, shape (..., n)
    Within log2(n) eps of the sum of the absolute values of the row. NaN, and the invalid flag is raised (`numpy.errstate`),
    if n is no power of two: `kexue.fwht` raises an exception.

See Also
--------
fwht_orthonormal : divided by sqrt(n), its own inverse.
kexue.fwht : both, with a check of the length.

Notes
-----
n log2(n) additions a row.

References
----------
B. J. Fino, V. R. Algazi, "Unified matrix treatment of the fast Walsh-Hadamard transform", IEEE Transactions on Computers
C-25 (1976) 1142-1146, doi:10.1109/TC.1976.1674569.

Examples
--------
>>> import kexue
>>> kexue.ufuncs.fwht([1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0])
array([ 4.,  2.,  0., -2.,  0.,  2.,  0.,  2.])
""")

fwht_orthonormal = of_rows("fwht_orthonormal", "(n)->(n)", row_loops, <void *>kx_walsh_hadamard_orthonormal_f32,
                           <void *>kx_walsh_hadamard_orthonormal_f64, """
Orthonormal Walsh-Hadamard transform of rows, in natural order: H x / sqrt(n), H[i, j] = (-1)**popcount(i & j).

Parameters
----------
x : array_like, shape (..., n)
    n is a power of two. {real}
{axis}

Returns
-------
ndarray, shape (..., n)
    Of the same Euclidean norm. NaN, and the invalid flag is raised (`numpy.errstate`), if n is no power of two: `kexue.fwht` raises
    an exception.

See Also
--------
fwht : without the factor.
kexue.fwht : both, with a check of the length.

Notes
-----
n log2(n) additions a row. It is its own inverse.

References
----------
B. J. Fino, V. R. Algazi, "Unified matrix treatment of the fast Walsh-Hadamard transform", IEEE Transactions on Computers
C-25 (1976) 1142-1146, doi:10.1109/TC.1976.1674569.

Examples
--------
>>> import kexue
>>> kexue.ufuncs.fwht_orthonormal([3.0, 1.0, 1.0, 1.0])
array([3., 1., 1., 1.])
""")
