"""A backend of amltk: runs calls in jobs of PBS."""
