"""One step of the flow: implicit, matrix-free or explicit, with its clock and its control."""
