"""Measurements beside the package: not installed, not imported by it."""

import os

# Set before the libraries are imported, which read them then.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
for _variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(_variable, ".")  # nnU-Net warns where they are not set; nothing is read from them
