"""Recurrent networks with weights of their own, and the calls that they take."""

import numpy as np

import kexue

from . import recurrent as reference

# name: function, cell, Jacobian, options, gates, has cells, a step of the oracle
KINDS = {
    "tanh": ("simple_rnn", {}, 1, False, reference.tanh_step),
    "relu": ("simple_rnn", {"activation": "relu"}, 1, False, reference.relu_step),
    "lstm": ("lstm", {}, 4, True, reference.lstm_step),
    "gru": ("gru", {}, 3, False, reference.gru_step),
    "gru_after": ("gru", {"convention": "torch"}, 3, False, reference.gru_after_step),
    "gru_single_gate": ("gru", {"variant": "single_gate"}, 2, False, reference.gru_single_gate_step),
    "gru_proposal": ("gru", {"variant": "proposal"}, 3, True, reference.gru_proposal_step),
}


class Case:
    """A network with weights of its own, and its calls."""

    def __init__(self, kind, sequences, steps, dimension, size, dtype=np.float64, seed=0):
        self.kind = kind
        name, self.options, gates, self.has_cells, self.step = KINDS[kind]
        self.name = name
        rng = np.random.default_rng([seed, sequences, steps, dimension, size])

        def draw(*shape):
            return rng.normal(size=shape).astype(dtype)

        scale = dtype(1 / np.sqrt(size + dimension))
        self.x, self.W, self.U = (
            draw(sequences, steps, dimension),
            draw(dimension, gates * size) * scale,
            draw(size, gates * size) * scale,
        )
        self.b, self.h0, self.c0 = draw(gates * size), draw(sequences, size) / 2, draw(sequences, size)
        self.extra = {"recurrent_bias": draw(size)} if kind == "gru_after" else {}

    def starts(self, h, c, names=("h0", "c0")):
        """Positional starts and keywords, as the function takes them."""
        if self.name == "lstm":
            return (h, c), {}
        return (h,), {names[1]: c} if self.has_cells else {}

    def run(self, **options):
        starts, keywords = self.starts(self.h0, self.c0)
        function = getattr(kexue, self.name)
        result = function(self.x, self.W, self.U, self.b, *starts, **keywords, **self.options, **self.extra, **options)
        return result if isinstance(result, tuple) else (result,)

    def cell(self, x, h, c):
        starts, keywords = self.starts(h, c, ("h", "c"))
        function = getattr(kexue, self.name + "_cell")
        result = function(x, *starts, self.W, self.U, self.b, **keywords, **self.options, **self.extra)
        return result if isinstance(result, tuple) else (result,)

    def jacobian(self, x, h, c):
        starts, keywords = self.starts(h, c, ("h", "c"))
        function = getattr(kexue, {"simple_rnn": "rnn"}.get(self.name, self.name) + "_jacobian")
        return function(x, *starts, self.W, self.U, self.b, **keywords, **self.options, **self.extra)

    def weights(self):
        return [self.W.tolist(), self.U.tolist(), self.b.tolist(), *(part.tolist() for part in self.extra.values())]

    def expected(self):
        outputs = [
            reference.states(self.step, x, h, c, *self.weights())
            for x, h, c in zip(self.x.tolist(), self.h0.tolist(), self.c0.tolist(), strict=True)
        ]
        return [np.array(part) for part in zip(*outputs, strict=True)][: 1 + self.has_cells]
