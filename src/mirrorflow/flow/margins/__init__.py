"""The margins of a network as functions of its flat weights, with their derivatives."""
