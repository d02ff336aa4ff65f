"""A backend of amltk: calls as runs of an Airflow DAG."""
