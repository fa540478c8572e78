"""The command line: parse, make typed settings, call the library once."""
