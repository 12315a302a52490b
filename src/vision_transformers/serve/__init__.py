"""A model over HTTP: pictures in, predictions and explanations out, and a page for people."""
