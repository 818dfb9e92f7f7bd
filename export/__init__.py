"""From a checkpoint to a version that serves: ONNX, the model repository, the life of a version. Knows no patients."""
