"""Mirror maps in units that move with the solution, exact at any level of the weights."""
