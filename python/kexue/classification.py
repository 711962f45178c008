"""From scores to decisions: next-sentence rules."""

from kexue._next_sentence import (
    SamplesContrastResult,
    apply_thresholds,
    candidates_contrast,
    grouped_argmax,
    nsp_scores,
    samples_contrast,
)

__all__ = [
    "SamplesContrastResult",
    "apply_thresholds",
    "candidates_contrast",
    "grouped_argmax",
    "nsp_scores",
    "samples_contrast",
]
