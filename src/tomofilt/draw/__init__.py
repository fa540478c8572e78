"""Pictures: previews of tomograms, charts, gains of filters."""
