"""Parquet and CSV tables with named columns."""
