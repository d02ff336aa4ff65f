"""A backend of amltk: runs calls in jobs of OAR."""
