"""Databento's records, in DBN, in CSV and in Parquet."""
