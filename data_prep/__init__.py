"""Corpora, phone sets, manifests and features."""
