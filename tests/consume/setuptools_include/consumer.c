#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "kexue/kexue.h"

/* emd2(a, b, M): buffers of float64, the cost as a float. */
static PyObject *emd2(PyObject *module, PyObject *arguments) {
    (void)module;
    Py_buffer a, b, M;
    if (!PyArg_ParseTuple(arguments, "y*y*y*", &a, &b, &M)) return NULL;
    const int64_t m = a.len / (Py_ssize_t)sizeof(double), n = b.len / (Py_ssize_t)sizeof(double);
    kx_emd_options_t options;
    kx_emd_options_init(&options);
    double cost = 0;
    kx_emd_outputs_t outputs = {.costs = &cost};
    kx_status_t status = KX_E_ARGUMENT;
    if (M.len == m * n * (Py_ssize_t)sizeof(double)) {
        Py_BEGIN_ALLOW_THREADS
        status = kx_transport_emd_f64(NULL, a.buf, b.buf, M.buf, 1, NULL, NULL, NULL, m, n,
                                      n * (ptrdiff_t)sizeof(double), &options, &outputs, NULL);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&a);
    PyBuffer_Release(&b);
    PyBuffer_Release(&M);
    if (status < 0) return PyErr_Format(PyExc_ValueError, "%s", kx_status_text(status));
    return PyFloat_FromDouble(cost);
}

static PyMethodDef methods[] = {{"emd2", emd2, METH_VARARGS, "The cost of a transport problem."}, {0}};
static struct PyModuleDef consumer = {PyModuleDef_HEAD_INIT, "consumer", NULL, -1, methods, 0, 0, 0, 0};

PyMODINIT_FUNC PyInit_consumer(void) { return PyModule_Create(&consumer); }
