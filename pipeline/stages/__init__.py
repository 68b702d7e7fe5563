"""The graph for one image: stages, their ids and receipts, what runs and why."""
