"""Importers: one file format each, all to the same `FloatModel`. None downloads, none executes what it reads."""
