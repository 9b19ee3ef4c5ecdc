"""Masks on their way to other programs: of a store, or of a folder that `plankseg predict` wrote."""
