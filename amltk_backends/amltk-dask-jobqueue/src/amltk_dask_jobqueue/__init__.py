"""The shared part of the backends for batch systems: keeps jobs of dask-jobqueue alive, and finds out how they died."""
