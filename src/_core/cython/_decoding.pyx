"""Prefix trees and alignments: the calls into the C core, and tokens out of lists. Checking and shaping of other arguments is the
work of kexue._prefix_tree and kexue._alignment.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_AsLongLongAndOverflow
from libc.math cimport INFINITY, log
from libc.stdint cimport INT32_MAX, INT64_MAX, int32_t, int64_t, uint32_t, uint64_t

from kexue._context cimport allocate, fill_context, is_narrow, raise_for_status, release
from kexue.core cimport (
    KX_PREFIX_TREE_NONE,
    kx_ctx_t,
    kx_edit_distance,
    kx_longest_common_subsequence,
    kx_prefix_tree_check,
    kx_prefix_tree_child,
    kx_prefix_tree_fill,
    kx_prefix_tree_is_end,
    kx_prefix_tree_lcs_gains,
    kx_prefix_tree_mask_f32,
    kx_prefix_tree_mask_f64,
    kx_prefix_tree_rank,
    kx_prefix_tree_sizes_t,
    kx_prefix_tree_sort,
    kx_prefix_tree_t,
    kx_status_t,
)

import operator
from collections.abc import Iterable, Mapping, Set

import numpy as np

from kexue._errors import KexueValueError

cnp.import_array()


cdef extern from "Python.h":
    uint32_t *PyUnicode_AsUCS4(object text, uint32_t *buffer, Py_ssize_t length, int copy_null) except NULL

ctypedef kx_status_t (*aligner)(const kx_ctx_t *, const uint32_t *, int64_t, const uint32_t *, int64_t, int64_t *) noexcept nogil

cdef enum:
    SHORT_TEXT = 512  # characters that are put on the stack
    MOST_EXPECTED = 1 << 22  # sequences that there is room for from the beginning: what an iterator says may be anything
    POLL = 1 << 14  # sequences, or tokens of one, between two looks at Ctrl-C


cdef int64_t token_of(object item, int *overflow) except? -1:
    """An integer; overflow: +-1 for one beyond int64. TypeError for what is none."""
    cdef object number = item
    overflow[0] = 0
    if type(item) is not int:
        if isinstance(item, bool):
            raise TypeError("bool")
        number = operator.index(item)
    return PyLong_AsLongLongAndOverflow(number, overflow)


cdef class Flattener:
    """Tokens of sequences one after another, 32 bits each until one does not fit.

    `tokens` are the first `total` of an array, which grows; `starts` too.
    """

    cdef cnp.ndarray tokens, starts
    cdef int32_t *narrow
    cdef int64_t *wide
    cdef int64_t *bounds
    cdef int64_t total, capacity, count, most

    def __cinit__(self, int64_t expected):
        self.capacity, self.most = 64, max(expected, 15) + 1
        self.tokens = np.empty(self.capacity, dtype=np.int32)
        self.starts = np.zeros(self.most, dtype=np.int64)
        self.total = self.count = 0
        self.point()

    cdef void point(self) noexcept:
        cdef bint is_wide = cnp.PyArray_ITEMSIZE(self.tokens) == 8
        self.wide = <int64_t *>cnp.PyArray_DATA(self.tokens) if is_wide else NULL
        self.narrow = NULL if is_wide else <int32_t *>cnp.PyArray_DATA(self.tokens)
        self.bounds = <int64_t *>cnp.PyArray_DATA(self.starts)

    cdef int reserve(self, int64_t more) except -1:
        if self.capacity - self.total >= more:
            return 0
        self.capacity = max(self.total + more, self.capacity + self.capacity // 2)
        self.tokens.resize(self.capacity, refcheck=False)
        self.point()
        return 0

    cdef int widen(self) except -1:
        self.tokens = self.tokens.astype(np.int64)
        self.point()
        return 0

    cdef inline int push(self, int64_t token) except -1:
        """There is room for it, and it is not negative."""
        if token > INT32_MAX and self.wide == NULL:
            self.widen()
        if self.wide != NULL:
            self.wide[self.total] = token
        else:
            self.narrow[self.total] = <int32_t>token
        self.total += 1
        return 0

    cdef int add_items(self, object items, int64_t index) except -1:
        """Those of a list or tuple. Its items run Python's code where they are no plain integers: it may change meanwhile."""
        cdef int64_t token, first = self.total
        cdef int overflow
        cdef object item
        self.reserve(len(items))
        for item in items:
            try:
                token = token_of(item, &overflow)
            except TypeError:
                raise TypeError(
                    f"sequences[{index}][{self.total - first}] must be an integer, not {type(item).__name__}") from None
            if overflow > 0:
                raise KexueValueError(f"sequences[{index}][{self.total - first}] is {item}, beyond int64")
            if overflow < 0 or token < 0:
                raise KexueValueError(f"sequences[{index}][{self.total - first}] is {item}, and tokens are not negative")
            self.reserve(1)
            self.push(token)
            if (self.total - first) % POLL == 0:
                PyErr_CheckSignals()
        return 0

    cdef int add_text(self, str text) except -1:
        cdef Py_UCS4 character
        self.reserve(len(text))
        for character in text:
            self.push(character)
            if self.total % POLL == 0:
                PyErr_CheckSignals()
        return 0

    cdef int add_array(self, cnp.ndarray array, int64_t index) except -1:
        """Of int32 or int64, contiguous and aligned."""
        cdef int64_t i, token, length = cnp.PyArray_DIM(array, 0)
        cdef bint is_wide = cnp.PyArray_ITEMSIZE(array) == 8
        cdef void *data = cnp.PyArray_DATA(array)
        self.reserve(length)
        for i in range(length):
            token = (<int64_t *>data)[i] if is_wide else (<int32_t *>data)[i]
            if token < 0:
                raise KexueValueError(f"sequences[{index}][{i}] is {token}, and tokens are not negative")
            self.push(token)
            if i % POLL == POLL - 1:
                PyErr_CheckSignals()
        return 0

    cdef int add(self, object sequence, object as_tokens) except -1:
        cdef int64_t index = self.count
        if isinstance(sequence, (list, tuple)):
            self.add_items(sequence, index)
        elif isinstance(sequence, str):
            self.add_text(<str>sequence)  # or a subclass: np.str_
        elif hasattr(sequence, "__array__"):
            self.add_array(as_tokens(f"sequences[{index}]", sequence), index)
        elif isinstance(sequence, (Mapping, Set)) or not isinstance(sequence, Iterable):
            raise TypeError(f"sequences[{index}] must be a sequence of tokens, not {type(sequence).__name__}")
        else:
            self.add_items(list(sequence), index)
        self.count += 1
        if self.count == self.most:
            self.most += self.most // 2
            self.starts.resize(self.most, refcheck=False)
            self.point()
        self.bounds[self.count] = self.total
        if self.count % POLL == 0:
            PyErr_CheckSignals()
        return 0


def flatten(object sequences, object as_tokens):
    """All tokens of an iterable of sequences one after another, and where each sequence begins.

    Parameters
    ----------
    sequences : iterable of sequences of int or str
    as_tokens : callable
        Makes of a name and an array one of int32 or int64, contiguous and aligned, none negative.

    Returns
    -------
    tokens : ndarray of int32, or int64 if one needs it, shape (total,)
    starts : ndarray of int64, shape (sequences + 1,)
    """
    cdef Flattener to = Flattener(min(operator.length_hint(sequences), MOST_EXPECTED))
    for sequence in sequences:
        to.add(sequence, as_tokens)
    return to.tokens[:to.total], to.starts[:to.count + 1]


def build(cnp.ndarray tokens, cnp.ndarray starts):
    """The arrays of the tree of sequences.

    Parameters
    ----------
    tokens : ndarray of int32 or int64
        Contiguous and aligned, none negative.
    starts : ndarray of int64, shape (sequences + 1,)
        Contiguous and aligned, ascending, within `tokens`.

    Returns
    -------
    tokens : ndarray of int32, or int64 if one needs it, shape (nodes,)
    children : ndarray of uint32, shape (nodes + 1,)
    ends : ndarray of uint64, shape (ceil(nodes / 64),)
    ranks : ndarray of uint32, shape (ceil(nodes / 64),)
    places : ndarray of uint32, shape (different sequences,)
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, 1)
    cdef int64_t count = cnp.PyArray_DIM(starts, 0) - 1
    cdef kx_prefix_tree_sizes_t sizes
    cdef int token_bytes = cnp.PyArray_ITEMSIZE(tokens)
    cdef cnp.ndarray order = np.empty(count, dtype=np.uint32), shared = np.empty(count, dtype=np.int64)
    cdef const void *from_tokens = cnp.PyArray_DATA(tokens)
    cdef const int64_t *from_starts = <const int64_t *>cnp.PyArray_DATA(starts)
    cdef uint32_t *to_order = <uint32_t *>cnp.PyArray_DATA(order)
    cdef int64_t *to_shared = <int64_t *>cnp.PyArray_DATA(shared)
    cdef kx_status_t outcome
    with nogil:
        outcome = kx_prefix_tree_sort(&ctx, from_tokens, token_bytes, from_starts, count, to_order, to_shared, &sizes)
    raise_for_status(outcome)
    cdef int tree_token_bytes = 8 if sizes.largest > INT32_MAX else 4
    cdef cnp.ndarray tree_tokens = np.empty(sizes.nodes, dtype=np.int64 if tree_token_bytes == 8 else np.int32)
    cdef cnp.ndarray children = np.empty(sizes.nodes + 1, dtype=np.uint32), places = np.empty(sizes.sequences, dtype=np.uint32)
    cdef cnp.ndarray ends = np.empty((sizes.nodes + 63) // 64, dtype=np.uint64)
    cdef cnp.ndarray ranks = np.empty((sizes.nodes + 63) // 64, dtype=np.uint32)
    cdef void *to_tokens = cnp.PyArray_DATA(tree_tokens)
    cdef uint32_t *to_children = <uint32_t *>cnp.PyArray_DATA(children)
    cdef uint64_t *to_ends = <uint64_t *>cnp.PyArray_DATA(ends)
    cdef uint32_t *to_ranks = <uint32_t *>cnp.PyArray_DATA(ranks)
    cdef uint32_t *to_places = <uint32_t *>cnp.PyArray_DATA(places)
    with nogil:
        outcome = kx_prefix_tree_fill(
            &ctx, from_tokens, token_bytes, from_starts, count, to_order, to_shared, &sizes, to_tokens, tree_token_bytes,
            to_children, to_ends, to_ranks, to_places)
    raise_for_status(outcome)
    return tree_tokens, children, ends, ranks, places


cdef class Tree:
    """The nodes of a tree.

    Parameters
    ----------
    tokens, children, ends, ranks : ndarray
        As `build` gives them, contiguous and aligned; they are kept, and not copied.
    """

    cdef kx_prefix_tree_t tree
    cdef readonly cnp.ndarray tokens, children, ends, ranks

    def __cinit__(self, cnp.ndarray tokens, cnp.ndarray children, cnp.ndarray ends, cnp.ndarray ranks):
        self.tokens, self.children, self.ends, self.ranks = tokens, children, ends, ranks
        self.tree.tokens = cnp.PyArray_DATA(tokens)
        self.tree.token_bytes = cnp.PyArray_ITEMSIZE(tokens)
        self.tree.nodes = cnp.PyArray_DIM(tokens, 0)
        self.tree.children = <const uint32_t *>cnp.PyArray_DATA(children)
        self.tree.ends = <const uint64_t *>cnp.PyArray_DATA(ends)
        self.tree.ranks = <const uint32_t *>cnp.PyArray_DATA(ranks)

    def check(self):
        """Whether the arrays are those of a tree: before anything else, where they come from outside."""
        cdef kx_ctx_t ctx
        fill_context(&ctx, 1)
        cdef kx_status_t outcome
        with nogil:
            outcome = kx_prefix_tree_check(&ctx, &self.tree)
        raise_for_status(outcome)

    def walk(self, object prefix, int64_t node=0):
        """The node that a list of tokens, or a string, leads to, or -1."""
        cdef object item
        cdef Py_UCS4 character
        cdef int64_t token
        cdef int overflow
        if isinstance(prefix, str):
            for character in <str>prefix:
                if node == KX_PREFIX_TREE_NONE:
                    break
                node = kx_prefix_tree_child(&self.tree, node, character)
            return node
        for item in prefix:
            token = token_of(item, &overflow)
            if node != KX_PREFIX_TREE_NONE:
                node = KX_PREFIX_TREE_NONE if overflow else kx_prefix_tree_child(&self.tree, node, token)
        return node

    def children_of(self, int64_t node):
        """The first of them, and the one past the last."""
        return self.tree.children[node], self.tree.children[node + 1]

    def is_end(self, int64_t node):
        """Whether a sequence ends at a node."""
        return bool(kx_prefix_tree_is_end(&self.tree, node))

    def rank(self, int64_t node):
        """How many sequences end before the one that ends at a node, or -1."""
        return kx_prefix_tree_rank(&self.tree, node)

    def mask(self, int64_t node, int64_t end_token, cnp.ndarray row):
        """Makes what may not follow a node -infinity; returns how many stay.

        Parameters
        ----------
        node, end_token : int
            -1 for no end token.
        row : ndarray of float32 or float64, shape (vocabulary,)
            Contiguous, aligned, writable.
        """
        cdef int64_t vocabulary = cnp.PyArray_DIM(row, 0), kept
        if is_narrow(row):
            kept = kx_prefix_tree_mask_f32(&self.tree, node, end_token, <float *>cnp.PyArray_DATA(row), vocabulary)
        else:
            kept = kx_prefix_tree_mask_f64(&self.tree, node, end_token, <double *>cnp.PyArray_DATA(row), vocabulary)
        return kept

    def gains(self, int64_t node, cnp.ndarray prefix, cnp.ndarray query, int64_t stop_token):
        """By how much the common subsequence with a query can grow through each child of a node.

        Parameters
        ----------
        node, stop_token : int
            -1 for no stop token.
        prefix, query : ndarray of int64
            Contiguous.

        Returns
        -------
        ndarray of int64, shape (children,)
        """
        cdef kx_ctx_t ctx
        fill_context(&ctx, 1)
        cdef int64_t n = cnp.PyArray_SIZE(prefix), m = cnp.PyArray_SIZE(query)
        cdef cnp.ndarray result = np.empty(self.tree.children[node + 1] - self.tree.children[node], dtype=np.int64)
        cdef const int64_t *from_prefix = <const int64_t *>cnp.PyArray_DATA(prefix)
        cdef const int64_t *from_query = <const int64_t *>cnp.PyArray_DATA(query)
        cdef int64_t *to_result = <int64_t *>cnp.PyArray_DATA(result)
        cdef kx_status_t outcome
        with nogil:
            outcome = kx_prefix_tree_lcs_gains(&ctx, &self.tree, node, from_prefix, n, from_query, m, stop_token, to_result)
        raise_for_status(outcome)
        return result

    def expand(self, cnp.ndarray nodes, int64_t end_token):
        """What may follow nodes: tokens of the children of each in turn, then the end token for those at which a sequence ends
        and no child has it.

        Parameters
        ----------
        nodes : ndarray of int64
            Contiguous.
        end_token : int

        Returns
        -------
        counts : ndarray of int64, shape (nodes,)
            The children of each.
        whose, tokens, children : ndarray of int64
            For each token its place in `nodes`, and the node that it leads to: -1 for the ends.
        """
        cdef int64_t count = cnp.PyArray_SIZE(nodes), total = 0, i, first, child, ends = 0
        cdef const int64_t *each = <const int64_t *>cnp.PyArray_DATA(nodes)
        cdef cnp.ndarray counts = np.empty(count, dtype=np.int64)
        cdef int64_t *to_counts = <int64_t *>cnp.PyArray_DATA(counts)
        for i in range(count):
            to_counts[i] = <int64_t>self.tree.children[each[i] + 1] - self.tree.children[each[i]]
            total += to_counts[i]
            ends += ends_here(&self.tree, each[i], end_token)
        cdef cnp.ndarray whose = np.empty(total + ends, dtype=np.int64), tokens = np.empty(total + ends, dtype=np.int64)
        cdef cnp.ndarray children = np.empty(total + ends, dtype=np.int64)
        cdef int64_t *to_whose = <int64_t *>cnp.PyArray_DATA(whose)
        cdef int64_t *to_tokens = <int64_t *>cnp.PyArray_DATA(tokens)
        cdef int64_t *to_children = <int64_t *>cnp.PyArray_DATA(children)
        cdef int64_t at = 0, last = total
        for i in range(count):
            first = self.tree.children[each[i]]
            for child in range(first, first + to_counts[i]):
                to_whose[at], to_children[at] = i, child
                if self.tree.token_bytes == 8:
                    to_tokens[at] = (<const int64_t *>self.tree.tokens)[child]
                else:
                    to_tokens[at] = (<const int32_t *>self.tree.tokens)[child]
                at += 1
            if ends_here(&self.tree, each[i], end_token):
                to_whose[last], to_tokens[last], to_children[last] = i, end_token, -1
                last += 1
        return counts, whose, tokens, children


cdef bint ends_here(const kx_prefix_tree_t *tree, int64_t node, int64_t end_token) noexcept:
    return kx_prefix_tree_is_end(tree, node) and kx_prefix_tree_child(tree, node, end_token) == KX_PREFIX_TREE_NONE


def normalize(cnp.ndarray values, cnp.ndarray whose, int64_t groups):
    """Makes log-probabilities, in place, sum to 1 in each group; uniform where all are impossible.

    Parameters
    ----------
    values : ndarray of float64
    whose : ndarray of int64
        The group of each. Both contiguous.
    groups : int
        None of them empty.
    """
    cdef int64_t n = cnp.PyArray_SIZE(values), i
    cdef double *value = <double *>cnp.PyArray_DATA(values)
    cdef const int64_t *group = <const int64_t *>cnp.PyArray_DATA(whose)
    cdef cnp.ndarray largest_of = np.full(groups, -np.inf), sums = np.zeros(groups)
    cdef double *largest = <double *>cnp.PyArray_DATA(largest_of)
    cdef double *total = <double *>cnp.PyArray_DATA(sums)
    for i in range(n):
        if value[i] > largest[group[i]]:
            largest[group[i]] = value[i]
    for i in range(n):
        value[i] = 0.0 if largest[group[i]] == -INFINITY else value[i] - largest[group[i]]
    cdef cnp.ndarray powers
    with np.errstate(under="ignore"):
        powers = np.exp(values)
    cdef const double *power = <const double *>cnp.PyArray_DATA(powers)
    for i in range(n):
        total[group[i]] += power[i]
    for i in range(groups):
        total[i] = log(total[i])
    for i in range(n):
        value[i] -= total[group[i]]


cdef int64_t align_texts(aligner method, str a, str b) except -1:
    cdef kx_ctx_t ctx
    cdef int64_t answer = 0, n = len(a), m = len(b)
    cdef uint32_t[SHORT_TEXT] place
    cdef uint32_t *codes = place
    cdef kx_status_t outcome
    fill_context(&ctx, 1)
    if n + m > SHORT_TEXT:
        codes = <uint32_t *>allocate(NULL, (n + m) * sizeof(uint32_t))
        if codes == NULL:
            raise MemoryError
    try:
        PyUnicode_AsUCS4(a, codes, n, 0)
        PyUnicode_AsUCS4(b, codes + n, m, 0)
        if n * m <= SHORT_TEXT * SHORT_TEXT:
            # The interpreter's lock is kept: to give it away would take longer.
            outcome = method(&ctx, codes, n, codes + n, m, &answer)
        else:
            with nogil:
                outcome = method(&ctx, codes, n, codes + n, m, &answer)
    finally:
        if codes != place:
            release(NULL, codes)
    if outcome != 0:
        raise_for_status(outcome)
    return answer


cdef int64_t align(aligner method, object a, object b, object as_codes) except -1:
    cdef kx_ctx_t ctx
    cdef int64_t answer = 0
    cdef cnp.ndarray codes_a, codes_b
    cdef int64_t n, m
    cdef const uint32_t *left
    cdef const uint32_t *right
    cdef kx_status_t outcome
    if isinstance(a, str) and isinstance(b, str):
        return align_texts(method, <str>a, <str>b)
    fill_context(&ctx, 1)
    codes_a, codes_b = as_codes(a, b)
    n, m = cnp.PyArray_DIM(codes_a, 0), cnp.PyArray_DIM(codes_b, 0)
    left, right = <const uint32_t *>cnp.PyArray_DATA(codes_a), <const uint32_t *>cnp.PyArray_DATA(codes_b)
    with nogil:
        outcome = method(&ctx, left, n, right, m, &answer)
    raise_for_status(outcome)
    return answer


def longest_common_subsequence(object a, object b, object as_codes):
    """The length. as_codes : callable that makes of two sequences contiguous, aligned arrays of uint32."""
    return align(kx_longest_common_subsequence, a, b, as_codes)


def edit_distance(object a, object b, object as_codes):
    """The distance. as_codes : callable that makes of two sequences contiguous, aligned arrays of uint32."""
    return align(kx_edit_distance, a, b, as_codes)


# ---- kexue.capi: without the interpreter, on one thread ----


cdef int count_edits(const uint32_t *a, int64_t n, const uint32_t *b, int64_t m, int64_t *distance) noexcept nogil:
    return kx_edit_distance(NULL, a, n, b, m, distance)


cdef int count_common(const uint32_t *a, int64_t n, const uint32_t *b, int64_t m, int64_t *length) noexcept nogil:
    return kx_longest_common_subsequence(NULL, a, n, b, m, length)
