"""One series or many: results written whole, recorded, and the projects told."""
