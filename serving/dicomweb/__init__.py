"""QIDO-RS and WADO-RS over the archive and the results (DICOM PS3.18)."""
