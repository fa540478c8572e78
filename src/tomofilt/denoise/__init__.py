"""Past the linear ceiling: a tiny network on band-split back-projections, trained on the series."""
