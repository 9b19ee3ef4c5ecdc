"""Models of the store: recipes, registry, loading, evaluation, choice of the backend."""
