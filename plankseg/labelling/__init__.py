"""Everything that knows Label Studio: task, annotation and prediction are words of this folder only."""
