"""Stack `cluster`: what every exercise may rely on, whichever distribution it runs on."""
