"""A model on evaluation rows: its loss and its predictions, scored."""
