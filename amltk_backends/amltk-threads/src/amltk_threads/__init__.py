"""A backend of amltk: threads of this process."""
