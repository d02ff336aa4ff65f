"""A backend of amltk: Ray."""
