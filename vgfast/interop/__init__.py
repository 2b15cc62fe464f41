"""Nets of other libraries."""
