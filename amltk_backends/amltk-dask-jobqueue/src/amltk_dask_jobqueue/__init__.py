"""The shared part of the backends for batch systems: keeps jobs of dask-jobqueue alive, and reports how they died."""
