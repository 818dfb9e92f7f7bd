"""What people and scripts use: the command line ``python -m client`` and the Python API ``client.api``."""
