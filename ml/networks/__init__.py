"""Trained networks at run time: weight files, OpenVINO export, heads, Grad-CAM."""
