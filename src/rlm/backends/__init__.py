"""Providers of language models. A file's name is the backend's name; `create(**backend_kwargs)` makes a client."""
