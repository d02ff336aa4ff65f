"""Runs the tasks of an amltk scheduler in jobs of PBS."""
