"""What schedulers and tasks look like: the only place that imports rich."""
