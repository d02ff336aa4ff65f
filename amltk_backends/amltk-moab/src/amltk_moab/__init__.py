"""A backend of amltk: runs calls in jobs of Moab."""
