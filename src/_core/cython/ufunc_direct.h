/* The direct path of elementwise ufuncs.

   NumPy looks for overrides, resolves types and plans the loop before it calls a kernel: 0.4 us, whatever the size. None of
   that can matter for float32 or float64 arrays of one shape, and numbers, so such a call goes straight to the kernel. All
   others take NumPy's way. The results, their types and the floating-point errors are the same on both.

   Arrays of other libraries that NumPy would only convert go to `kexue._array_kinds.call_ufunc`, which knows how to read
   them and how to hand the result back in their kind. So do tables of pandas that are given to a gufunc: pandas would apply
   it to its blocks, which lie transposed, and softmax would run along columns.

   C, as references are counted by hand, and within the limited API of Python 3.12, so that a wheel for the stable ABI does the
   same. Include it where NumPy's array and ufunc API have been imported. */
#ifndef KEXUE_UFUNC_DIRECT_H
#define KEXUE_UFUNC_DIRECT_H

#include <Python.h>
#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stdint.h>

#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>
#include <numpy/ufuncobject.h>

/* From here on other threads of Python's may run meanwhile, as in NumPy. */
#define KX_DIRECT_THREADS_ITEMS 500
#define KX_DIRECT_OPERANDS 4
#define KX_DIRECT_FLAGS (FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW | FE_INVALID)

/* What NumPy put into every ufunc, the keyword `out`, and what makes a scalar. Set by kx_direct_enable at import, constant
   from then on. */
static vectorcallfunc kx_direct_numpy_call;
static PyObject *kx_direct_out_keyword;
static allocfunc kx_direct_new_double, kx_direct_new_float;

/* NPY_FLOAT, NPY_DOUBLE, or NPY_NOTYPE for all that NumPy has to look at. */
static int kx_direct_type_of_array(PyArrayObject *array) {
    PyArray_Descr *descr = PyArray_DESCR(array);
    if (descr->type_num != NPY_FLOAT && descr->type_num != NPY_DOUBLE) return NPY_NOTYPE;
    if (!PyArray_CHKFLAGS(array, NPY_ARRAY_CARRAY_RO) || !PyArray_ISNBO(descr->byteorder) || PyDataType_METADATA(descr))
        return NPY_NOTYPE;
    return descr->type_num;
}

static int kx_direct_same_shape(PyArrayObject *a, PyArrayObject *b) {
    int dimensions = PyArray_NDIM(a);
    return PyArray_NDIM(b) == dimensions &&
           PyArray_CompareLists(PyArray_DIMS(a), PyArray_DIMS(b), dimensions);
}

/* Whether a value is an array of another library that has no override, or to a gufunc a table of pandas. */
static int kx_direct_is_foreign(PyObject *value, int is_gufunc) {
    if (PyArray_Check(value) || PyFloat_Check(value) || PyLong_Check(value) || PyList_Check(value) || PyTuple_Check(value) ||
        PyArray_CheckScalar(value) || value == Py_None)
        return 0;
    PyObject *type = (PyObject *)Py_TYPE(value);
    if (!PyObject_HasAttrString(type, "__array_ufunc__"))
        return PyObject_HasAttrString(type, "__dlpack__") || PyObject_HasAttrString(type, "__array_namespace__");
    /* `npartitions`: Dask's tables stay lazy. */
    return is_gufunc && PyObject_HasAttrString(type, "iloc") && PyObject_HasAttrString(type, "columns") &&
           !PyObject_HasAttrString(type, "npartitions");
}

/* NumPy's way, for arrays of other libraries by way of Python. */
static PyObject *kx_direct_other_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *keywords) {
    const Py_ssize_t given = PyVectorcall_NARGS(nargsf);
    const Py_ssize_t all = given + (keywords == NULL ? 0 : PyTuple_Size(keywords));
    const int is_gufunc = ((const PyUFuncObject *)self)->core_enabled;
    Py_ssize_t i = 0;
    while (i < all && !kx_direct_is_foreign(args[i], is_gufunc)) i++;
    if (i == all) return kx_direct_numpy_call(self, args, nargsf, keywords);
    PyObject *result = NULL, *module = PyImport_ImportModule("kexue._array_kinds");
    PyObject *call = module == NULL ? NULL : PyObject_GetAttrString(module, "call_ufunc");
    PyObject **operands = PyMem_Malloc(((size_t)all + 1) * sizeof *operands);
    if (operands == NULL) PyErr_NoMemory();
    else if (call != NULL) {
        operands[0] = self;
        for (i = 0; i < all; i++) operands[i + 1] = args[i];
        result = PyObject_Vectorcall(call, operands, (size_t)given + 1, keywords);
    }
    PyMem_Free(operands);
    Py_XDECREF(call);
    Py_XDECREF(module);
    return result;
}

static PyObject *kx_direct_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *keywords) {
    const PyUFuncObject *ufunc = (const PyUFuncObject *)self;
    const Py_ssize_t given = PyVectorcall_NARGS(nargsf);
    const int operands = ufunc->nin;
    PyObject *out = NULL;
    if (given == operands + 1 && keywords == NULL)
        out = args[operands];
    else if (given != operands)
        goto numpy;
    else if (keywords != NULL && PyTuple_Size(keywords) > 0) {
        if (PyTuple_Size(keywords) > 1 || PyTuple_GetItem(keywords, 0) != kx_direct_out_keyword) goto numpy;
        out = args[operands];
    }

    char *data[KX_DIRECT_OPERANDS + 1];
    npy_intp steps[KX_DIRECT_OPERANDS + 1];
    double numbers[KX_DIRECT_OPERANDS]; /* operands that are Python's numbers: these have no type of their own */
    float narrow_numbers[KX_DIRECT_OPERANDS];
    PyArrayObject *first_array = NULL;
    int type = NPY_NOTYPE;
    for (int i = 0; i < operands; i++) {
        PyObject *operand = args[i];
        int operand_type;
        data[i] = NULL;
        steps[i] = 0;
        if (PyArray_CheckExact(operand)) {
            PyArrayObject *array = (PyArrayObject *)operand;
            operand_type = kx_direct_type_of_array(array);
            if (operand_type == NPY_NOTYPE) goto numpy;
            data[i] = PyArray_BYTES(array);
            if (PyArray_NDIM(array) > 0) {
                steps[i] = operand_type == NPY_FLOAT ? (npy_intp)sizeof(float) : (npy_intp)sizeof(double);
                if (first_array == NULL) first_array = array;
                else if (!kx_direct_same_shape(first_array, array)) goto numpy;
            }
        } else if (PyFloat_CheckExact(operand)) {
            numbers[i] = PyFloat_AsDouble(operand);
            continue;
        } else if (Py_IS_TYPE(operand, &PyDoubleArrType_Type)) {
            operand_type = NPY_DOUBLE;
            data[i] = (char *)&((PyDoubleScalarObject *)operand)->obval;
        } else if (Py_IS_TYPE(operand, &PyFloatArrType_Type)) {
            operand_type = NPY_FLOAT;
            data[i] = (char *)&((PyFloatScalarObject *)operand)->obval;
        } else if (PyLong_CheckExact(operand) && i > 0) {
            /* As the first operand an integer may make NumPy compute in float64. */
            int overflow;
            long long number = PyLong_AsLongLongAndOverflow(operand, &overflow);
            if (overflow || number < -(1LL << DBL_MANT_DIG) || number > 1LL << DBL_MANT_DIG) goto numpy;
            numbers[i] = (double)number;
            continue;
        } else
            goto numpy;
        if (type != NPY_NOTYPE && type != operand_type) goto numpy;
        type = operand_type;
    }
    if (type == NPY_NOTYPE) type = NPY_DOUBLE;
    for (int i = 0; i < operands; i++) {
        if (data[i] != NULL) continue;
        if (type == NPY_FLOAT) {
            /* Beyond the normal numbers the cast has errors to report. */
            double size = fabs(numbers[i]);
            if (!((size >= FLT_MIN && size <= FLT_MAX) || size == 0)) goto numpy;
            narrow_numbers[i] = (float)numbers[i];
            data[i] = (char *)&narrow_numbers[i];
        } else
            data[i] = (char *)&numbers[i];
    }

    npy_intp n = first_array == NULL ? 1 : PyArray_SIZE(first_array);
    const npy_intp item = type == NPY_FLOAT ? (npy_intp)sizeof(float) : (npy_intp)sizeof(double);
    union {
        float narrow;
        double wide;
    } number;
    PyObject *result = NULL;
    steps[operands] = item;
    if (out != NULL) {
        if (!PyArray_CheckExact(out)) goto numpy;
        PyArrayObject *array = (PyArrayObject *)out;
        if (kx_direct_type_of_array(array) != type || !PyArray_ISWRITEABLE(array) ||
            PyArray_FLAGS(array) >> 31) /* NumPy's private flag of arrays that warn when written to */
            goto numpy;
        if (first_array == NULL ? PyArray_NDIM(array) != 0 : !kx_direct_same_shape(first_array, array)) goto numpy;
        /* In place is right item by item; where the result lies askew of an operand NumPy makes a copy. */
        uintptr_t begin = (uintptr_t)PyArray_BYTES(array), end = begin + (uintptr_t)(n * item);
        for (int i = 0; i < operands; i++) {
            uintptr_t operand = (uintptr_t)data[i], operand_end = operand + (uintptr_t)(steps[i] ? n * item : item);
            if (operand < end && begin < operand_end && !(operand == begin && steps[i])) goto numpy;
        }
        data[operands] = PyArray_BYTES(array);
        result = Py_NewRef(out);
    } else if (first_array != NULL) {
        result = PyArray_SimpleNew(PyArray_NDIM(first_array), PyArray_DIMS(first_array), type);
        if (result == NULL) return NULL;
        data[operands] = PyArray_BYTES((PyArrayObject *)result);
    } else
        data[operands] = (char *)&number;

    if (n > 0) {
        int wide = type == NPY_DOUBLE;
        /* Clearing takes ten times as long as looking. */
        if (fetestexcept(KX_DIRECT_FLAGS)) feclearexcept(KX_DIRECT_FLAGS);
        PyThreadState *thread = n > KX_DIRECT_THREADS_ITEMS ? PyEval_SaveThread() : NULL;
        ufunc->functions[wide](data, &n, steps, (void *)ufunc->data[wide]);
        if (thread != NULL) PyEval_RestoreThread(thread);
        int raised = fetestexcept(KX_DIRECT_FLAGS);
        if (raised) {
            feclearexcept(KX_DIRECT_FLAGS);
            int errors = (raised & FE_DIVBYZERO ? NPY_FPE_DIVIDEBYZERO : 0) | (raised & FE_OVERFLOW ? NPY_FPE_OVERFLOW : 0) |
                         (raised & FE_UNDERFLOW ? NPY_FPE_UNDERFLOW : 0) | (raised & FE_INVALID ? NPY_FPE_INVALID : 0);
            if (PyUFunc_GiveFloatingpointErrors(ufunc->name, errors) < 0) {
                Py_XDECREF(result);
                return NULL;
            }
        }
    }
    if (result != NULL) return result;
    if (type == NPY_DOUBLE) {
        result = kx_direct_new_double(&PyDoubleArrType_Type, 0);
        if (result != NULL) ((PyDoubleScalarObject *)result)->obval = number.wide;
    } else {
        result = kx_direct_new_float(&PyFloatArrType_Type, 0);
        if (result != NULL) ((PyFloatScalarObject *)result)->obval = number.narrow;
    }
    return result;

numpy:
    return kx_direct_other_call(self, args, nargsf, keywords);
}

/* Shows that a call of a ufunc comes here. */
static PyObject *kx_direct_probe(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *keywords) {
    (void)args, (void)nargsf, (void)keywords;
    return Py_NewRef(self);
}

/* For a ufunc or gufunc of float32 and float64 loops, in this order. A NumPy that calls its ufuncs in another way keeps
   doing so. */
static int kx_direct_enable(PyObject *self) {
    PyUFuncObject *ufunc = (PyUFuncObject *)self;
    vectorcallfunc *call = (vectorcallfunc *)&ufunc->vectorcall; /* declared void * where the API is limited */
    if (kx_direct_out_keyword == NULL) {
        kx_direct_out_keyword = PyUnicode_InternFromString("out");
        if (kx_direct_out_keyword == NULL) return -1;
        kx_direct_new_double = (allocfunc)PyType_GetSlot(&PyDoubleArrType_Type, Py_tp_alloc);
        kx_direct_new_float = (allocfunc)PyType_GetSlot(&PyFloatArrType_Type, Py_tp_alloc);
        vectorcallfunc numpy_call = *call;
        *call = kx_direct_probe;
        PyObject *answer = PyObject_CallNoArgs(self);
        *call = numpy_call;
        if (answer == self) kx_direct_numpy_call = numpy_call;
        PyErr_Clear(); /* NumPy's, that operands are missing */
        Py_XDECREF(answer);
    }
    const int is_direct = !ufunc->core_enabled && ufunc->nin <= KX_DIRECT_OPERANDS && ufunc->nout == 1;
    if (*call != NULL && *call == kx_direct_numpy_call) *call = is_direct ? kx_direct_call : kx_direct_other_call;
    return 0;
}

#endif
