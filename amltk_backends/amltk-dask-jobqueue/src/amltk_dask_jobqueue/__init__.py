"""What the backends for batch systems share: jobs of dask-jobqueue that are kept alive, and asked how they died."""
