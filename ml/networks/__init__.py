"""Trained networks at run time.

Weight files, the OpenVINO export, heads and Grad-CAM.
"""
