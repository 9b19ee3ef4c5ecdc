"""Tasks and answers as JSON: push of proposals, pull of annotations, removal of duplicates."""
