"""Block-circulant recurrent speech recognisers, from PyTorch to integers."""
