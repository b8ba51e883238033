"""One file per format: a subclass of `export.base.Exporter`."""
