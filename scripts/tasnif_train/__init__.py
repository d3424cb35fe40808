"""What the scripts share: formats, data, sampling, metrics, calibration and the torch model.

Only `model`, `predict` and `trainer` import torch; everything else runs on numpy alone, so that its tests
need no multi-gigabyte install.
"""
