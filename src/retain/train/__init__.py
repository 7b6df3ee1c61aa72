"""The one training loop, and the steps of a phase that need the model in memory."""
