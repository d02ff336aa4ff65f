"""A backend of amltk: newname."""
