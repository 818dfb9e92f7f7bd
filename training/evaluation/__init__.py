"""The evaluation protocols of the tasks."""
