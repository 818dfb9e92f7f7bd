"""The evidence tables: plans of rows, how they are run, and the pages and figures that come of them."""
