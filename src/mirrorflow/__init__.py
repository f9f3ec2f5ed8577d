"""Mirror flow and mirror descent in homogeneous neural networks."""
