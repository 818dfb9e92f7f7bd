"""From labelled data to students: networks, methods, one loop, evaluation. Knows nothing of DICOM or of serving."""
