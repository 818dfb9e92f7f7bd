"""The DICOM gateway: studies in, DICOM SEG out, durable and exactly once. It never imports torch."""
