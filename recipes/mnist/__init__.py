"""Handwritten digits: networks of images, compressed, quantized, and run by the accelerator."""
