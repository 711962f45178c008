import threading
import warnings

import numpy as np
import pytest

import kexue
from kexue import _context, _errors

STATUSES = [status for status in range(-100, 100) if _context.status_name(status) != "KX_E_UNKNOWN"]


@pytest.mark.parametrize("status", STATUSES, ids=_context.status_name)
def test_every_status_has_its_exception(status):
    name = _context.status_name(status)
    expected = {
        "KX_OK": None,
        "KX_E_MEMORY": MemoryError,
        "KX_E_OVERFLOW": OverflowError,
        "KX_E_INTERNAL": kexue.InternalError,
        "KX_E_CANCELLED": kexue.InternalError,  # with a KeyboardInterrupt pending, that one is raised
    }.get(name, kexue.KexueValueError if status < 0 else kexue.ConvergenceWarning)
    if expected is None:
        _errors.raise_status(status)
    elif status > 0:
        with pytest.warns(expected, match=name):
            _errors.raise_status(status)
    else:
        with pytest.raises(expected, match=name):
            _errors.raise_status(status)
        with pytest.raises(expected, match="^the reason$"):
            _errors.raise_status(status, "the reason")


def test_unknown_status_is_internal():
    with pytest.raises(kexue.InternalError):
        _errors.raise_status(-1000)


def test_exceptions_are_what_callers_catch():
    assert issubclass(kexue.KexueValueError, ValueError)
    assert issubclass(kexue.InternalError, RuntimeError)
    assert issubclass(kexue.ConvergenceWarning, UserWarning)


def warn():
    _errors.warn_convergence("3 of 4096 did not converge")


def test_errstate():
    with pytest.warns(kexue.ConvergenceWarning, match="3 of 4096"):
        warn()
    with kexue.errstate(convergence="ignore"):
        warn()
        with kexue.errstate(convergence="raise"), pytest.raises(kexue.ConvergenceWarning, match="3 of 4096"):
            warn()
        warn()
        with kexue.errstate(convergence="warn"), pytest.warns(kexue.ConvergenceWarning):
            warn()
    with pytest.warns(kexue.ConvergenceWarning):
        warn()


def test_errstate_is_restored_after_an_error():
    with pytest.raises(ZeroDivisionError), kexue.errstate(convergence="ignore"):
        raise ZeroDivisionError
    with pytest.warns(kexue.ConvergenceWarning):
        warn()


def test_errstate_holds_for_one_thread():
    caught = []

    def other():
        try:
            warn()
        except kexue.ConvergenceWarning as error:  # pytest's filter makes warnings errors
            caught.append(error)

    with kexue.errstate(convergence="ignore"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(caught) == 1


def test_errstate_refuses_other_words():
    with pytest.raises(kexue.KexueValueError, match="convergence must be"):
        kexue.errstate(convergence="print").__enter__()


def test_warning_points_at_the_caller():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn()
    assert caught[0].filename == __file__


def test_first_bad_names_the_first_place():
    M = np.zeros((4, 20), order="F")
    M[3, 17] = M[3, 18] = np.nan
    with pytest.raises(kexue.KexueValueError) as caught:
        _errors.require_finite("M", M)
    assert str(caught.value) == "M[3, 17] is nan; M has shape (4, 20)"
    M[0, 19] = -np.inf
    with pytest.raises(kexue.KexueValueError, match=r"^M\[0, 19\] is -inf"):
        _errors.require_finite("M", M)
    with pytest.raises(kexue.KexueValueError, match=r"^M\[3, 17\] is nan"):
        _errors.first_bad("M", M, np.isnan)


def test_negative_weight():
    a = np.array([0, 0.5, -0.0, 1, 2, -0.25, -1], dtype=np.float32)
    with pytest.raises(kexue.KexueValueError) as caught:
        _errors.require_nonnegative("a", a)
    assert str(caught.value) == "a[5] is negative (-0.25); a has shape (7,)"


def test_scalar_has_no_index():
    with pytest.raises(kexue.KexueValueError, match="^reg is nan$"):
        _errors.require_finite("reg", np.array(np.nan))


def test_good_arrays_pass(any_layout, dtype, rng):
    array = any_layout(rng.random((5, 7)).astype(dtype))
    _errors.require_finite("a", array)
    _errors.require_nonnegative("a", array)


def test_bad_place_in_any_layout(layout, dtype):
    values = np.ones((5, 7), dtype=dtype)
    values[2, 3] = np.inf
    with pytest.raises(kexue.KexueValueError, match=r"^a\[2, 3\] is inf"):
        _errors.require_finite("a", layout(values))
