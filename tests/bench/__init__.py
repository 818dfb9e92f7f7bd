"""The benchmark (``make bench``): the gateway beside a plain script, and beside Orthanc. Not part of the tests."""
