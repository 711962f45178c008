"""Prefix trees and alignments: the calls into the C core. Checking and shaping of arguments is the work of
kexue._prefix_tree and kexue._alignment.
"""
cimport numpy as cnp
from libc.math cimport INFINITY, log
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from kexue._context cimport fill_context, is_narrow, raise_for_status
from kexue.core cimport (
    KX_PREFIX_TREE_NONE,
    kx_ctx_t,
    kx_edit_distance,
    kx_longest_common_subsequence,
    kx_prefix_tree_child,
    kx_prefix_tree_fill,
    kx_prefix_tree_is_end,
    kx_prefix_tree_lcs_gains,
    kx_prefix_tree_mask_f32,
    kx_prefix_tree_mask_f64,
    kx_prefix_tree_sort,
    kx_prefix_tree_t,
    kx_prefix_tree_walk,
    kx_status_t,
)

import numpy as np

cnp.import_array()


def build(cnp.ndarray tokens, cnp.ndarray starts):
    """The arrays of the tree of sequences.

    Parameters
    ----------
    tokens : ndarray of int32 or int64
        Contiguous, none negative.
    starts : ndarray of int64, shape (sequences + 1,)
        Contiguous, ascending, within `tokens`.

    Returns
    -------
    tokens : ndarray of the tokens' dtype, shape (nodes,)
    children : ndarray of uint32, shape (nodes + 1,)
    ends : ndarray of uint64, shape (ceil(nodes / 64),)
    end_nodes : ndarray of uint32, shape (sequences,)
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, 1)
    cdef int64_t count = cnp.PyArray_DIM(starts, 0) - 1, nodes = 0, deepest = 0
    cdef int token_bytes = cnp.PyArray_ITEMSIZE(tokens)
    cdef cnp.ndarray order = np.empty(count, dtype=np.uint32), shared = np.empty(count, dtype=np.int64)
    cdef const void *from_tokens = cnp.PyArray_DATA(tokens)
    cdef const int64_t *from_starts = <const int64_t *>cnp.PyArray_DATA(starts)
    cdef uint32_t *to_order = <uint32_t *>cnp.PyArray_DATA(order)
    cdef int64_t *to_shared = <int64_t *>cnp.PyArray_DATA(shared)
    cdef kx_status_t outcome
    with nogil:
        outcome = kx_prefix_tree_sort(&ctx, from_tokens, token_bytes, from_starts, count, to_order, to_shared, &nodes, &deepest)
    raise_for_status(outcome)
    cdef cnp.ndarray tree_tokens = np.empty(nodes, dtype=tokens.dtype), children = np.empty(nodes + 1, dtype=np.uint32)
    cdef cnp.ndarray ends = np.empty((nodes + 63) // 64, dtype=np.uint64), end_nodes = np.empty(count, dtype=np.uint32)
    cdef void *to_tokens = cnp.PyArray_DATA(tree_tokens)
    cdef uint32_t *to_children = <uint32_t *>cnp.PyArray_DATA(children)
    cdef uint64_t *to_ends = <uint64_t *>cnp.PyArray_DATA(ends)
    cdef uint32_t *to_end_nodes = <uint32_t *>cnp.PyArray_DATA(end_nodes)
    with nogil:
        outcome = kx_prefix_tree_fill(
            &ctx, from_tokens, token_bytes, from_starts, count, to_order, to_shared, nodes, deepest, to_tokens, token_bytes, to_children,
            to_ends, to_end_nodes)
    raise_for_status(outcome)
    return tree_tokens, children, ends, end_nodes


cdef class Tree:
    """The nodes of a tree whose arrays have been checked.

    Parameters
    ----------
    tokens, children, ends : ndarray
        As `build` gives them, contiguous; they are kept, and not copied.
    """

    cdef kx_prefix_tree_t tree
    cdef readonly cnp.ndarray tokens, children, ends

    def __init__(self, cnp.ndarray tokens, cnp.ndarray children, cnp.ndarray ends):
        self.tokens, self.children, self.ends = tokens, children, ends
        self.tree.tokens = cnp.PyArray_DATA(tokens)
        self.tree.token_bytes = cnp.PyArray_ITEMSIZE(tokens)
        self.tree.nodes = cnp.PyArray_DIM(tokens, 0)
        self.tree.children = <const uint32_t *>cnp.PyArray_DATA(children)
        self.tree.ends = <const uint64_t *>cnp.PyArray_DATA(ends)

    def walk(self, object prefix, int64_t node=0):
        """The node that a list of tokens leads to, or -1."""
        cdef object token
        for token in prefix:
            if node == KX_PREFIX_TREE_NONE:
                return node
            node = kx_prefix_tree_child(&self.tree, node, token)
        return node

    def is_end(self, int64_t node):
        """Whether a sequence ends at a node."""
        return bool(kx_prefix_tree_is_end(&self.tree, node))

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


def longest_common_subsequence(cnp.ndarray a, cnp.ndarray b):
    """The length; a, b : contiguous ndarrays of uint32."""
    cdef kx_ctx_t ctx
    fill_context(&ctx, 1)
    cdef int64_t length = 0, n = cnp.PyArray_SIZE(a), m = cnp.PyArray_SIZE(b)
    cdef const uint32_t *left = <const uint32_t *>cnp.PyArray_DATA(a)
    cdef const uint32_t *right = <const uint32_t *>cnp.PyArray_DATA(b)
    cdef kx_status_t outcome
    with nogil:
        outcome = kx_longest_common_subsequence(&ctx, left, n, right, m, &length)
    raise_for_status(outcome)
    return length


def edit_distance(cnp.ndarray a, cnp.ndarray b):
    """The distance; a, b : contiguous ndarrays of uint32."""
    cdef kx_ctx_t ctx
    fill_context(&ctx, 1)
    cdef int64_t distance = 0, n = cnp.PyArray_SIZE(a), m = cnp.PyArray_SIZE(b)
    cdef const uint32_t *left = <const uint32_t *>cnp.PyArray_DATA(a)
    cdef const uint32_t *right = <const uint32_t *>cnp.PyArray_DATA(b)
    cdef kx_status_t outcome
    with nogil:
        outcome = kx_edit_distance(&ctx, left, n, right, m, &distance)
    raise_for_status(outcome)
    return distance
