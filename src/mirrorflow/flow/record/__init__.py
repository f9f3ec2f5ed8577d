"""What a flow leaves: its rows, their residuals, interpolation between them, checkpoints."""
