"""All cases of the accuracy tables."""

from reference import accuracy_arrays, accuracy_elementwise, accuracy_rows

CASES = [*accuracy_elementwise.cases(), *accuracy_rows.cases(), *accuracy_arrays.cases()]
