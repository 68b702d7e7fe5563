"""A running guest, over SSH: commands, files, the agent and its results."""
