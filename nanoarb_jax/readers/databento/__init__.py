"""Databento's records, in DBN and in CSV."""
