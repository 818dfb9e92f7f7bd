"""The networks, and the form in which a student is served."""
