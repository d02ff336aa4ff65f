"""A backend of amltk: dask."""
