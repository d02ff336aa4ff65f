"""A backend of amltk: processes of loky."""
